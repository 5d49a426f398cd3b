/** The recovery: what the ledger lost is had again from the spool and the mailboxes, and what nobody knows any more waits for a person. */
import { mkdir, rename, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { asFault, Fault } from "../base/errors.ts";
import { parse } from "../message/parse.ts";
import { type Routing, routeOf } from "../pipeline/route.ts";
import type { Source } from "../source/source.ts";
import type { CursorRecord } from "../store/mail.ts";
import type { Recovery, Unsplit } from "../store/recovery.ts";
import type { Shelf, Spool } from "../store/store.ts";
import { examineSpool, type Odd, type Progress } from "./verify.ts";

export type RecoverWorks = {
  readonly recovery: Recovery;
  readonly spool: Spool;
  /** Of the spool. */
  readonly directory: string;
  readonly sources: ReadonlyMap<string, Source>;
  /** Names of services and sinks. */
  readonly names: readonly string[];
  readonly routing: Routing;
};

/** A mailbox of which nobody knows how far it was read. */
export type Unread = {
  readonly mailbox: string;
  /** Its present end; null: it is empty. */
  readonly cursor: CursorRecord | null;
  /** What is in it and not in the ledger, and since when. */
  readonly unknown: number;
  readonly since: string | null;
};

export type Plan = { readonly odd: readonly Odd[]; readonly unread: readonly Unread[] };

export type Done = {
  /** Raw mail that waits for a person. */
  readonly adopted: number;
  readonly fetched: number;
  readonly split: number;
  readonly movedAside: number;
  /** Why something could not be had again, a sentence each. */
  readonly missing: readonly string[];
};

/** Looks, and changes nothing. Throws the Fault of a mailbox whose end is not known and cannot be asked for. */
export async function planRecovery(works: RecoverWorks, tell: (progress: Progress) => void, signal: AbortSignal): Promise<Plan> {
  const { recovery, spool, directory, sources } = works;
  const odd: Odd[] = [];
  for await (const one of examineSpool({ inspection: recovery.inspection, spool, directory, before: null, tell }, signal)) odd.push(one);
  // Told to stop, it has not seen all.
  signal.throwIfAborted();
  const unread: Unread[] = [];
  for (const [mailbox, { list }] of sources) {
    signal.throwIfAborted();
    // A ledger that was never lost does not know a mailbox that is new.
    if (recovery.wrong.length > 0 && recovery.cursor(mailbox) === null) unread.push(await endOf(mailbox, list, recovery, signal));
  }
  return { odd, unread };
}

async function endOf(mailbox: string, list: Source["list"], { uids }: Recovery, signal: AbortSignal): Promise<Unread> {
  let [uidValidity, last, unknown] = ["", 0, 0];
  let since: string | null = null;
  let known: ReadonlySet<number> = new Set();
  for await (const part of list(signal)) {
    if (uidValidity !== part.uidValidity) known = uids(mailbox, part.uidValidity);
    uidValidity = part.uidValidity;
    for (const { uid, receivedAt } of part.messages) {
      last = Math.max(last, uid);
      if (known.has(uid)) continue;
      unknown += 1;
      if (receivedAt !== null && (since === null || receivedAt < since)) since = receivedAt;
    }
  }
  return { mailbox, cursor: last === 0 ? null : { uidValidity, uid: last, since: null, until: 0 }, unknown, since };
}

/** May be repeated: what is done is found done. Puts the new ledger in its place last, by the caller. */
export async function applyRecovery({ odd, unread }: Plan, works: RecoverWorks, signal: AbortSignal): Promise<Done> {
  const { recovery, spool, directory, names } = works;
  const missing: string[] = [];
  const moved = new Set<string>();
  const moveAside = async ({ shelf, path }: Odd) => {
    const place = join(recovery.aside, "spool", shelf);
    await mkdir(place, { recursive: true, mode: 0o700 });
    await rename(path, join(place, basename(path)));
    moved.add(path);
  };
  for (const { mailbox, cursor } of unread) if (cursor !== null) recovery.startAt(mailbox, cursor);
  if (recovery.pausesLost) for (const name of names) recovery.pause(name);

  const adopted: Unsplit[] = [];
  for (const one of odd.filter(({ is }) => is === "stranger")) {
    const blob = { sha256: one.name, size: one.size };
    if (await isWhole("raw", blob, spool)) {
      recovery.adopt(blob, (await stat(one.path)).mtime);
      adopted.push({ message: one.name, size: one.size, mailbox: "", wayLost: false });
    } else await moveAside(one);
  }
  let fetched = 0;
  for (const one of odd.filter(({ is, shelf }) => shelf === "raw" && (is === "missing" || is === "damaged"))) {
    signal.throwIfAborted();
    if (one.is === "damaged") await moveAside(one);
    const why = await fetchAgain(one.name, works, signal);
    if (why === null) fetched += 1;
    else missing.push(`the mail itself of message ${one.name.slice(0, 16)}: ${why.message}`);
    if (why !== null && !why.temporary) recovery.giveUp("raw", one.name);
  }

  const badParts = odd.filter(({ is, shelf }) => shelf === "parts" && (is === "missing" || is === "damaged"));
  for (const one of badParts.filter(({ is }) => is === "damaged")) await moveAside(one);
  const unsplit = new Map<string, Unsplit>([...recovery.unsplit(), ...adopted].map((one) => [one.message, one]));
  for (const { message } of badParts) {
    const size = message === null ? null : await sizeOf(message, spool);
    if (message !== null && size !== null && !unsplit.has(message)) unsplit.set(message, { message, size, mailbox: "", wayLost: false });
  }
  let split = 0;
  for (const one of unsplit.values()) {
    signal.throwIfAborted();
    const why = await splitAgain(one, works);
    if (why === null) split += 1;
    else missing.push(`the parts of message ${one.message.slice(0, 16)}: ${why.message}`);
  }
  for (const { name, size } of badParts) {
    if (!(await isWhole("parts", { sha256: name, size }, spool)) && recovery.inspection.wants("parts", name) === "kept")
      recovery.giveUp("parts", name);
  }
  for (const one of odd.filter(({ is }) => is === "leftover")) {
    if (recovery.inspection.wants(one.shelf, one.name) !== "kept") await moveAside(one);
  }
  await spool.clean();
  // What was made again may be wanted by nobody: a mail is split otherwise by another version.
  for await (const one of examineSpool({ inspection: recovery.inspection, spool, directory, before: null, tell: () => {} }, signal))
    if (one.is === "leftover") await moveAside(one);
  return { adopted: adopted.length, fetched, split, movedAside: moved.size, missing };
}

async function isWhole(shelf: Shelf, blob: { readonly sha256: string; readonly size: number }, spool: Spool): Promise<boolean> {
  try {
    for await (const _ of spool.open(shelf, blob)) {
      // All of it.
    }
    return true;
  } catch {
    return false;
  }
}

async function sizeOf(message: string, spool: Spool): Promise<number | null> {
  const found = await stat(spool.path("raw", message)).catch(() => null);
  return found?.size ?? null;
}

/** From where it was seen last to where it was seen first; null: its bytes are in the spool again. */
async function fetchAgain(message: string, { recovery, spool, sources }: RecoverWorks, signal: AbortSignal): Promise<Fault | null> {
  let why = new Fault("recover.gone", "no mailbox has it any more", { temporary: false });
  for (const { mailbox, uidValidity, uid } of recovery.arrivals(message)) {
    const source = sources.get(mailbox);
    if (source === undefined) continue;
    try {
      const bytes = await source.read(uid, signal, uidValidity);
      if (bytes === null) continue;
      const { sha256 } = await spool.keep("raw")(bytes);
      if (sha256 === message) return null;
      if (recovery.inspection.wants("raw", sha256) !== "kept") await spool.remove("raw", sha256);
    } catch (thrown) {
      const fault = asFault(thrown, "recover.failed");
      if (signal.aborted || fault.code.startsWith("spool.")) throw fault;
      // Where it cannot be asked now it may still be.
      if (fault.temporary) why = fault;
    }
  }
  return why;
}

/** Null: its parts are in the spool again, and what it says is in the ledger. */
async function splitAgain(
  { message, mailbox, wayLost, ...was }: Unsplit,
  { recovery, spool, routing }: RecoverWorks,
): Promise<Fault | null> {
  try {
    // Of a message whose record was lost the size is lost too.
    const size = (await sizeOf(message, spool)) ?? was.size;
    const { facts, parts, faults } = await parse(spool.open("raw", { sha256: message, size }), spool.keep("parts"));
    const mail = { mailbox, facts, parts, size, released: true };
    recovery.restore(message, { size, facts, parts, faults, route: wayLost ? routeOf(routing.rules, mail, routing.fallback) : null });
    return null;
  } catch (thrown) {
    return asFault(thrown, "recover.failed");
  }
}
