/** Waiting for a parser that says neither that it is at work nor that it is stuck. */

export type Pace = {
  /** Something moved: look again. */
  readonly step: () => void;
  /** Work on what the parser gives, at its own speed; the parser is not to blame while it runs, unless it waits in `fed`. */
  readonly working: <T>(work: () => Promise<T>) => Promise<T>;
  /** Bytes from the parser; waiting for the next ones is waiting for the parser. */
  readonly fed: (bytes: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;
  /** True when no work is running. */
  readonly idle: () => boolean;
  /** Resolves true once `reached` is, and false when the parser is stuck. */
  readonly until: (reached: () => boolean) => Promise<boolean>;
};

/**
 * The parser does no input or output: while nobody keeps it waiting, nearly every turn of the event loop brings it forward.
 * So many turns without a step, and it never will. Counted in turns because a slow machine makes them longer, not more.
 */
const MOST_IDLE_TURNS = 10_000;

export function createPace(): Pace {
  let steps = 0;
  let workers = 0;
  let hungry = 0;
  let wake = () => {};
  const step = () => {
    steps += 1;
    wake();
  };
  return {
    step,
    idle: () => workers === 0,
    working: async (work) => {
      workers += 1;
      try {
        return await work();
      } finally {
        workers -= 1;
        step();
      }
    },
    fed: async function* (bytes) {
      const chunks = bytes[Symbol.asyncIterator]();
      for (;;) {
        hungry += 1;
        wake();
        const next = await chunks.next().finally(() => {
          hungry -= 1;
        });
        if (next.done) return;
        step();
        yield next.value;
      }
    },
    until: async (reached) => {
      for (let idle = 0, seen = steps; !reached(); ) {
        await new Promise<void>((resolve) => {
          if (workers > hungry) wake = resolve;
          else setImmediate(resolve);
        });
        idle = seen === steps ? idle + 1 : 0;
        seen = steps;
        if (idle > MOST_IDLE_TURNS) return false;
      }
      return true;
    },
  };
}
