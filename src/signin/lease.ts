/** One process a mailbox asks for tokens at a time: a refresh token shown twice looks stolen to a provider that rotates them. */
import { randomUUID } from "node:crypto";
import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import type { Clock } from "../base/clock.ts";

/** No work under a lease takes longer: requests for tokens have a deadline below this. */
const LONGEST_MS = 60_000;
const LOOK_MS = 100;
/** In a container the next process has the same number. */
const LIFE = randomUUID();

type Holder = { readonly id: string; readonly life: string; readonly pid: number; readonly host: string; readonly since: number };

/**
 * Resolves when no other process has the lease, with what gives it back (never rejects). It is a file; one left by a process that died
 * is taken over: at once when it ran on this machine, otherwise after a minute. Throws what node:fs throws when no file can be made.
 */
export async function takeLease(path: string, clock: Clock): Promise<() => Promise<void>> {
  for (;;) {
    const mine = { id: randomUUID(), life: LIFE, pid: process.pid, host: hostname(), since: clock.now().getTime() };
    if (await taken(path, mine)) {
      return async () => {
        const holder = await holderOf(path).catch(() => null);
        if (holder?.id === mine.id) await rm(path, { force: true }).catch(() => {});
      };
    }
    const holder = await holderOf(path);
    if (holder !== null && isOver(holder, clock.now().getTime())) await putAside(path, holder, mine.id);
    else await clock.sleep(LOOK_MS);
  }
}

/** Linked into place, so that nobody reads half of it. */
async function taken(path: string, mine: Holder): Promise<boolean> {
  const own = `${path}.${mine.id}`;
  try {
    await writeFile(own, JSON.stringify(mine), { flag: "wx", mode: 0o600 });
    await link(own, path);
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw thrown;
  } finally {
    await rm(own, { force: true });
  }
}

async function holderOf(path: string): Promise<Holder | null> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Holder;
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return { id: "", life: "", pid: 0, host: "", since: 0 };
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw thrown;
  }
}

function isOver({ life, pid, host, since }: Holder, now: number): boolean {
  const died = host === hostname() && (pid === process.pid ? life !== LIFE : !lives(pid));
  return died || Math.abs(now - since) > LONGEST_MS;
}

function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Two may find it over: whoever moves away what the other has just taken puts it back. */
async function putAside(path: string, judged: Holder, id: string): Promise<void> {
  const aside = `${path}.${id}.over`;
  try {
    await rename(path, aside);
    if ((await holderOf(aside))?.id !== judged.id) await link(aside, path);
  } catch {
    // It is gone already, or taken again.
  } finally {
    await rm(aside, { force: true });
  }
}
