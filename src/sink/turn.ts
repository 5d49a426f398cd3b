/** One writer a path at a time: two deliveries whose names fall together must see each other. */
const busy = new Map<string, Promise<unknown>>();

/** Runs `work` when everything begun earlier for this path is over, whatever became of that. */
export function inTurn<T>(path: string, work: () => Promise<T>): Promise<T> {
  const turn = (busy.get(path) ?? Promise.resolve()).then(work, work);
  busy.set(path, turn);
  const leave = () => {
    if (busy.get(path) === turn) busy.delete(path);
  };
  turn.then(leave, leave);
  return turn;
}
