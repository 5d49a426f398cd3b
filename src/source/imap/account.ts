/** One account's connection, shared by the folders that are watched in it: made when it is needed, lent in turn, idle when nobody works. */
import type { Clock } from "../../base/clock.ts";
import { asFault, Fault, reasonOf } from "../../base/errors.ts";
import { createBackoff } from "./backoff.ts";
import { type Account, type Connection, openConnection, openFolder, type Session, within } from "./connect.ts";
import { commandFault, isRefusal } from "./faults.ts";
import { glance, type Round, startRound } from "./glance.ts";

/** A watched folder's place at its account. */
export type Seat = {
  /** At work, or with a consumer at work: the connection is kept alive, and not idle. */
  readonly work: () => void;
  /** Nothing to do until the bell is rung; `seen`: the session the folder was looked through on last. */
  readonly rest: (seen: Session | null) => void;
  /** In trouble: others may idle. */
  readonly away: () => void;
  readonly leave: () => void;
};

export type SharedAccount = {
  /**
   * Runs the work with the folder open and nobody else on the connection. Throws the fault of the last failure at once while that one's
   * back-off lasts, `imap.folder`, or whatever the work throws; what is neither a Fault nor a refusal ends the connection.
   */
  readonly use: <T>(folder: string, work: (session: Session) => Promise<T>, anew?: boolean) => Promise<T>;
  /** Whether nothing at all has happened in a folder since it was opened; false where only opening it can tell. Throws as `use` does. */
  readonly isUntouched: (since: Session) => Promise<boolean>;
  readonly watch: (folder: string, ring: () => void) => Seat;
  readonly fault: (thrown: unknown, folder: string) => Fault;
  /** A folder was looked through: the next failure is the first of its row. */
  readonly well: () => void;
  /** The connection is given up, so that the next one begins afresh; unless another folder may be doing well on it. */
  readonly giveUp: (why: string) => void;
  /** Resolves when no back-off is under way. */
  readonly ready: (signal: AbortSignal) => Promise<void>;
  /** Ends the back-off under way, unless the server asked for it or refused the login. */
  readonly hurry: () => void;
  /** Of several that share it the last one's call ends it. Never rejects. */
  readonly release: () => Promise<void>;
};

const LOGIN_EVERY_MS = 2_000;
/** Between two IDLEs that the server ended by itself. */
const IDLE_AGAIN_MS = 1_000;
/** How long a connection nobody watches is kept for whoever settles next. */
const LINGER_MS = 5_000;
/** How long the work in hand may take at the end; the daemon has given it its time before. */
const LEAVE_MS = 1_000;

type State = "working" | "resting" | "away";
/** `told`: what a glance said when the bell was rung for it. */
type Place = { readonly folder: string; readonly ring: () => void; state: State; seen: Session | null; told: string };

/** `pause`: how long this connection has to wait so that all those of the process do not begin at once. */
export function shareAccount(account: Account, clock: Clock, pause: () => number, ended: () => void) {
  const places = new Set<Place>();
  const closing = new AbortController();
  const backoff = createBackoff(clock, closing.signal);
  let holders = 0;
  let open: Connection | null = null;
  let current: Session | null = null;
  let nextLogin = 0;
  let uses = 0;
  let inHand = 0;
  let turn: Promise<unknown> = Promise.resolve();
  let nudge = Promise.withResolvers<void>();
  let lingering = new AbortController();
  /** The IDLE under way. */
  let idling: Promise<unknown> | null = null;

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = turn.then(work);
    turn = mine.catch(() => {});
    return mine;
  }
  function stopped(): Fault {
    return new Fault("imap.stopped", `The connection to ${account.host} is closed.`);
  }

  /** However often a server accepts and then drops us, it sees one login every two seconds. */
  async function connected(): Promise<Connection> {
    if (open?.alive()) return open;
    // Said BYE, and left the connection open.
    open?.client.close();
    if (closing.signal.aborted) throw stopped();
    const failed = backoff.why();
    if (failed !== null) throw failed;
    const now = clock.now().getTime();
    // A clock that was set back must not keep us away for longer.
    const at = Math.max(now + pause(), Math.min(nextLogin, now + LOGIN_EVERY_MS));
    nextLogin = at + LOGIN_EVERY_MS;
    if (at > now) await clock.sleep(at - now, closing.signal);
    try {
      const made = await openConnection(account, clock, closing.signal);
      made.client.on("exists", () => {
        for (const place of places) if (place.folder === current?.folder) wake(place);
      });
      made.client.on("close", () => lose(made));
      open = made;
      void attend(made);
      return made;
    } catch (thrown) {
      const fault = asFault(thrown, "imap.connect");
      if (!closing.signal.aborted) backoff.fail(fault);
      throw fault;
    }
  }

  function lose(connection: Connection): void {
    if (open !== connection) return;
    const { folder } = current ?? { folder: "" };
    open = null;
    current = null;
    idling = null;
    if (!closing.signal.aborted && places.size > 0) backoff.fail(connection.fault(new Error("it was closed"), folder));
    // Whoever is at work finds out, and whoever waits for better times goes on waiting.
    for (const place of places) if (place.state === "resting") wake(place);
    nudge.resolve();
  }

  async function opened(connection: Connection, folder: string, anew: boolean): Promise<Session> {
    if (!anew && current?.folder === folder && current.alive()) return current;
    current = null;
    current = await openFolder(connection, folder, account, clock);
    return current;
  }

  /** Nobody else is on the connection meanwhile. */
  function lend<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    inHand++;
    lingering.abort();
    const done = inTurn(async () => {
      const connection = await connected();
      uses++;
      // A connection that died between IDLE and its continuation never takes the DONE, and imapflow waits for ever.
      const interrupted = idling;
      if (interrupted !== null)
        void within(clock, account.socketTimeoutMs, interrupted).then((ok) => ok || connection.drop("no answer to DONE"));
      try {
        return await work(connection);
      } catch (thrown) {
        if (!(thrown instanceof Fault) && !isRefusal(thrown)) connection.drop(reasonOf(thrown));
        throw thrown;
      }
    });
    return done.finally(() => {
      inHand--;
      nudge.resolve();
      void linger();
    });
  }

  function wake(place: Place): void {
    place.state = "working";
    place.ring();
  }

  /** Keeps a connection that nobody uses: IDLE where everybody rests, and a sign of life asked for now and then in any case. */
  async function attend(connection: Connection): Promise<void> {
    const over = new AbortController();
    const ring = () => nudge.resolve();
    let round: Round | null = null;
    for (let isPatient = false; connection.alive(); ) {
      nudge = Promise.withResolvers();
      await inTurn(() => idle(connection, isPatient));
      const [mine, before, unheard] = [idling, uses, elsewhere().length];
      const heard = Promise.race([nudge.promise, ...(mine === null ? [] : [mine])]);
      if (unheard > 0) round ??= startRound(unheard, clock, over.signal, ring);
      const isQuiet = !round?.isDue && !(await within(clock, account.idleMs, heard));
      const isDue = round?.isDue === true;
      isPatient = isQuiet || (isDue && uses === before);
      if (isDue) {
        round = null;
        for (const place of elsewhere()) await inTurn(() => glanceAt(place, connection));
      } else if (isQuiet) await inTurn(() => connection.prove());
      else if (mine !== null && idling === null && uses === before) await within(clock, IDLE_AGAIN_MS, nudge.promise);
    }
    over.abort();
    connection.client.close();
  }

  /** Folders with nothing to do, and nobody to tell when there is. */
  function elsewhere(): readonly Place[] {
    return [...places].filter(({ state, seen, folder }) => state === "resting" && seen !== null && folder !== current?.folder);
  }

  /** The same news ring once: a server whose STATUS differs from what it says on opening must not have the folder opened for ever. */
  async function glanceAt(place: Place, connection: Connection): Promise<void> {
    const { seen, state, folder } = place;
    if (seen === null || state !== "resting" || folder === current?.folder || !connection.alive()) return;
    await connection.prove("STATUS", async () => {
      const { is, told } = await glance(connection.client, seen);
      if (is === "news" && told !== place.told) wake(place);
      if (is === "news") place.told = told;
    });
  }

  /** Begins an IDLE, unless somebody has to look first, or is at work: not with a consumer that has held a sight for long. */
  async function idle(connection: Connection, isPatient: boolean): Promise<void> {
    const all = [...places];
    const first = all.find((place) => place.state === "resting");
    if (idling !== null || first === undefined || (!isPatient && all.some((place) => place.state === "working"))) return;
    const session = await opened(connection, first.folder, false).catch(() => null);
    // Mail that came while another folder was open was not told, and why a folder cannot be opened is told to who looks.
    if (session === null || session !== first.seen) return wake(first);
    const done = () => {
      if (idling === mine) idling = null;
    };
    const mine: Promise<void> = connection.client.idle().then(done, done);
    idling = mine;
  }

  async function linger(): Promise<void> {
    if (places.size > 0 || inHand > 0 || open === null) return;
    lingering.abort();
    lingering = new AbortController();
    const { signal } = lingering;
    await clock.sleep(LINGER_MS, AbortSignal.any([signal, closing.signal]));
    if (!signal.aborted) await inTurn(end);
  }

  async function end(): Promise<void> {
    const last = open;
    open = null;
    current = null;
    await last?.end();
    // Its own end tells nobody any more, and `attend` waits for word of it.
    nudge.resolve();
  }

  function watch(folder: string, ring: () => void): Seat {
    const place: Place = { folder, ring, state: "working", seen: null, told: "" };
    places.add(place);
    lingering.abort();
    const become = (state: State) => {
      place.state = state;
      nudge.resolve();
    };
    return {
      work: () => {
        place.state = "working";
      },
      rest: (seen) => {
        place.seen = seen;
        become("resting");
      },
      away: () => become("away"),
      leave: () => {
        places.delete(place);
        nudge.resolve();
        void linger();
      },
    };
  }

  const shared: SharedAccount = {
    use: (folder, work, anew = false) => lend(async (connection) => work(await opened(connection, folder, anew))),
    isUntouched: async (since) => {
      // Only by mod-sequences can it be told.
      if (since.modseq === null) return false;
      return lend(async ({ client }) => current?.folder !== since.folder && (await glance(client, since)).is === "untouched");
    },
    watch,
    fault: (thrown, folder) => {
      if (thrown instanceof Fault) return thrown;
      return (isRefusal(thrown) ? null : backoff.why()) ?? commandFault(thrown, account, folder, null, clock.now());
    },
    well: backoff.well,
    giveUp: (why) => {
      if ([...places].every((place) => place.state === "away")) open?.drop(why);
    },
    ready: backoff.over,
    hurry: backoff.hurry,
    release: async () => {
      if (--holders > 0) return;
      ended();
      closing.abort();
      nudge.resolve();
      if (await within(clock, LEAVE_MS, turn)) await end();
      else open?.drop("it was stopped");
    },
  };
  return {
    hold: () => {
      holders++;
      return shared;
    },
  };
}
