/** The spool: bytes whole or not at all, kept once, durable in the right order, and damage that is noticed. */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import { openSpool } from "../../src/store/spool.ts";
import type { Spool } from "../../src/store/store.ts";
import { noDisk, smallDisk, temporaryDirectory } from "./disk.ts";
import { noStrace, traced } from "./process.ts";

async function* chunks(...bytes: readonly (string | Uint8Array)[]): AsyncIterable<Uint8Array> {
  for (const chunk of bytes) yield Buffer.from(chunk);
}

const sha256 = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex");

async function files(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function read(spool: Spool, shelf: "raw" | "parts", blob: { sha256: string; size: number }): Promise<Buffer> {
  const found: Uint8Array[] = [];
  for await (const chunk of spool.open(shelf, blob)) found.push(chunk);
  return Buffer.concat(found);
}

describe("keeping", () => {
  test("bytes are named by what they are, and come back as they went in", async () => {
    const directory = await temporaryDirectory();
    const spool = await openSpool(directory);
    const bytes = randomBytes(3_000_000);
    const kept = await spool.keep("raw")(chunks(bytes.subarray(0, 10), bytes.subarray(10, 10), bytes.subarray(10)));
    expect(kept).toEqual({ sha256: sha256(bytes), size: bytes.length, head: bytes.subarray(0, 4_100) });
    const path = spool.path("raw", kept.sha256);
    expect(path).toBe(join(directory, "raw", kept.sha256.slice(0, 2), `${kept.sha256}.eml`));
    expect(await files(directory)).toEqual([path]);
    expect((await read(spool, "raw", kept)).equals(bytes)).toBe(true);
    expect(await read(spool, "raw", kept)).toHaveLength(bytes.length);
  });

  test("nothing at all is bytes too", async () => {
    const spool = await openSpool(await temporaryDirectory());
    const kept = await spool.keep("parts")(chunks());
    expect(kept).toMatchObject({ sha256: sha256(""), size: 0 });
    expect(await read(spool, "parts", kept)).toHaveLength(0);
  });

  test("bytes that fail on their way leave nothing, and the failure is theirs", async () => {
    const directory = await temporaryDirectory();
    const spool = await openSpool(directory);
    const fault = new Fault("imap.connection", "the connection was cut");
    const broken = (async function* () {
      yield Buffer.from("a beginning");
      throw fault;
    })();
    await expect(spool.keep("raw")(broken)).rejects.toBe(fault);
    expect(await files(directory)).toEqual([]);
  });

  test("the same bytes are kept once: one after the other, and at the same time", async () => {
    const directory = await temporaryDirectory();
    const spool = await openSpool(directory);
    const kept = await Promise.all(Array.from({ length: 20 }, () => spool.keep("raw")(chunks("the same ", "message"))));
    kept.push(await spool.keep("raw")(chunks("the same message")));
    expect(new Set(kept.map((blob) => blob.sha256))).toEqual(new Set([sha256("the same message")]));
    expect(await files(directory)).toEqual([spool.path("raw", sha256("the same message"))]);
  });

  test("many different bytes at once", async () => {
    const directory = await temporaryDirectory();
    const spool = await openSpool(directory);
    const kept = await Promise.all(Array.from({ length: 100 }, (_, n) => spool.keep("parts")(chunks(`part ${n}`))));
    for (const [n, blob] of kept.entries()) expect((await read(spool, "parts", blob)).toString()).toBe(`part ${n}`);
    expect(await files(directory)).toHaveLength(100);
  });

  test("what somebody damaged is mended when the same bytes come again", async () => {
    const spool = await openSpool(await temporaryDirectory());
    const kept = await spool.keep("raw")(chunks("a whole message"));
    await truncate(spool.path("raw", kept.sha256), 3);
    await spool.keep("raw")(chunks("a whole message"));
    expect((await read(spool, "raw", kept)).toString()).toBe("a whole message");
    await rm(dirname(spool.path("raw", kept.sha256)), { recursive: true });
    await spool.keep("raw")(chunks("a whole message"));
    expect((await read(spool, "raw", kept)).toString()).toBe("a whole message");
  });

  test("is nobody else's to read", async () => {
    const directory = join(await temporaryDirectory(), "spool");
    const spool = await openSpool(directory);
    const { sha256: name } = await spool.keep("raw")(chunks("secret"));
    const mode = async (path: string) => (await stat(path)).mode & 0o777;
    const path = spool.path("raw", name);
    expect(await mode(path)).toBe(0o600);
    for (const made of [dirname(path), join(directory, "raw"), join(directory, "parts"), directory]) expect(await mode(made)).toBe(0o700);
  });
});

describe("removing", () => {
  test("gives back what the bytes took; what is not there is no trouble", async () => {
    const directory = await temporaryDirectory();
    const spool = await openSpool(directory);
    const { sha256: name } = await spool.keep("raw")(chunks("a whole message"));
    expect(await spool.list("raw", name.slice(0, 2))).toEqual([name]);
    expect(await spool.list("parts", name.slice(0, 2))).toEqual([]);
    expect(await spool.remove("parts", name)).toBeNull();
    expect(await spool.remove("raw", name)).toBe(15);
    expect(await spool.remove("raw", name)).toBeNull();
    expect(await spool.list("raw", name.slice(0, 2))).toEqual([]);
    expect(await files(directory)).toEqual([]);
  });

  test("leaves what somebody keeps until they have left, and what was kept again since", async () => {
    const directory = await temporaryDirectory();
    const spool = await openSpool(directory);
    const { sha256: name } = await spool.keep("parts")(chunks("a part"));
    await spool.keep("parts", "one")(chunks("a part"));
    await spool.keep("parts", "another")(chunks("a part"));
    for (const leaving of ["one", "another"]) {
      expect(await spool.remove("parts", name)).toBeNull();
      spool.left(leaving);
    }
    const old = new Date(Date.now() - 7_200_000);
    await utimes(spool.path("parts", name), old, old);
    await spool.keep("parts")(chunks("a part"));
    expect(await spool.remove("parts", name, new Date(Date.now() - 3_600_000))).toBeNull();
    await utimes(spool.path("parts", name), old, old);
    expect(await spool.remove("parts", name, new Date(Date.now() - 3_600_000))).toBe(6);
    expect(await files(directory)).toEqual([]);
  });

  test("while the same bytes are kept over and over, whoever has just kept them has them", async () => {
    const spool = await openSpool(await temporaryDirectory());
    const { sha256: name, size } = await spool.keep("parts")(chunks("the same part"));
    let isOver = false;
    const removing = (async () => {
      let removed = 0;
      while (!isOver) {
        if ((await spool.remove("parts", name)) !== null) removed += 1;
        await setImmediate();
      }
      return removed;
    })();
    for (let turn = 0; turn < 50; turn += 1) {
      await spool.keep("parts", "me")(chunks("the same part"));
      expect((await read(spool, "parts", { sha256: name, size })).length).toBe(size);
      spool.left("me");
      await setImmediate();
    }
    isOver = true;
    expect(await removing).toBeGreaterThan(10);
  });

  test("what is being read is read to its end", async () => {
    const spool = await openSpool(await temporaryDirectory());
    const bytes = randomBytes(300_000);
    const kept = await spool.keep("raw")(chunks(bytes));
    const reading = spool.open("raw", kept)[Symbol.asyncIterator]();
    const first = await reading.next();
    await spool.remove("raw", kept.sha256);
    const found = [first.value as Uint8Array];
    for (let next = await reading.next(); !next.done; next = await reading.next()) found.push(next.value);
    expect(Buffer.concat(found).equals(bytes)).toBe(true);
  });
});

describe("opening", () => {
  test("what is missing or has another size is told before the first byte", async () => {
    const spool = await openSpool(await temporaryDirectory());
    const kept = await spool.keep("raw")(chunks("a whole message"));
    await writeFile(spool.path("raw", kept.sha256), "a whole mess");
    await expect(read(spool, "raw", kept)).rejects.toMatchObject({
      code: "spool.damaged",
      temporary: false,
      message: expect.stringContaining("12 bytes where 15 were kept"),
    });
    await rm(spool.path("raw", kept.sha256));
    await expect(read(spool, "raw", kept)).rejects.toMatchObject({ code: "spool.missing", temporary: false });
    await expect(read(spool, "parts", kept)).rejects.toMatchObject({ code: "spool.missing" });
  });

  test("a place that cannot be a spool is told as that", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "file"), "");
    await expect(openSpool(join(directory, "file"))).rejects.toMatchObject({ code: "spool.unwritable", temporary: true });
  });
});

test("cleaning removes what an interrupted write left behind, and only that", async () => {
  const directory = await temporaryDirectory();
  const spool = await openSpool(directory);
  const { sha256: name } = await spool.keep("raw")(chunks("a message"));
  let begun = () => {};
  const writing = new Promise<void>((resolve) => {
    begun = resolve;
  });
  // Never finished: what a killed process leaves, made by the same code.
  void spool.keep("parts")(
    (async function* () {
      yield Buffer.from("half a pa");
      begun();
      await new Promise(() => {});
    })(),
  );
  await writing;
  await writeFile(join(directory, "raw", "a note of the owner.tmp"), "keep me");
  expect(await files(directory)).toHaveLength(3);
  expect(await (await openSpool(directory)).clean()).toBe(1);
  expect((await files(directory)).toSorted()).toEqual([join(directory, "raw", "a note of the owner.tmp"), spool.path("raw", name)].sort());
  expect(await spool.clean()).toBe(0);
});

test.skipIf(noDisk !== null)(
  `a full disk leaves nothing, and is only a matter of time${noDisk === null ? "" : `: skipped, ${noDisk}`}`,
  async () => {
    const directory = await smallDisk("256k");
    const spool = await openSpool(directory);
    await expect(spool.keep("raw")(chunks(randomBytes(100_000), randomBytes(300_000)))).rejects.toMatchObject({
      code: "spool.full",
      temporary: true,
      advice: expect.stringContaining("free disk space"),
    });
    expect(await files(directory)).toEqual([]);
    const kept = await spool.keep("raw")(chunks("a small one"));
    expect((await read(spool, "raw", kept)).toString()).toBe("a small one");
  },
);

const unseen = noStrace === null ? "" : `: skipped, ${noStrace}`;
describe.skipIf(noStrace !== null && process.env.CI !== "true")(`the order of making durable${unseen}`, () => {
  const calls = ["fsync", "fdatasync", "rename", "renameat", "renameat2", "write", "mkdir", "mkdirat"] as const;

  async function between(directory: string) {
    expect(noStrace).toBeNull();
    const all = await traced(calls, "keep", directory);
    const begin = all.findIndex(({ text }) => text.includes('"before'));
    const end = all.findIndex(({ text }) => text.includes('"\\"after') || text.includes('"after'));
    expect(begin).toBeGreaterThanOrEqual(0);
    expect(end).toBeGreaterThan(begin);
    return all.slice(begin, end);
  }
  const synced = (path: string) => (call: { name: string; text: string }) =>
    /^f(data)?sync$/.test(call.name) && call.text.includes(`<${path}>`);

  test("the file, its new directory's entry, then the rename, then the directory", async () => {
    const directory = await temporaryDirectory();
    const seen = await between(directory);
    const [shard = ""] = await readdir(join(directory, "raw"));
    const sequence = [
      seen.find((call) => /^f(data)?sync$/.test(call.name) && call.text.includes(`<${join(directory, "raw", ".billhook-")}`)),
      seen.find(synced(join(directory, "raw"))),
      seen.find((call) => call.name.startsWith("rename") && call.text.includes(`${join(directory, "raw", shard)}/`)),
      seen.find(synced(join(directory, "raw", shard))),
    ];
    for (const call of sequence) expect(call).toBeDefined();
    for (const [at, call] of sequence.entries()) {
      const next = sequence[at + 1];
      if (next !== undefined) expect(call?.ended).toBeLessThan(next.begun);
    }
  });

  test("what another process may have left just before it died is made durable too", async () => {
    const directory = await temporaryDirectory();
    const name = sha256("one message");
    const shard = join(directory, "raw", name.slice(0, 2));
    await mkdir(shard, { recursive: true, mode: 0o700 });
    await writeFile(join(shard, `${name}.eml`), "one message");
    const seen = await between(directory);
    // It may not be on the disk: it is replaced by bytes that are.
    expect(seen.filter(({ name: call }) => call.startsWith("rename"))).toHaveLength(1);
    expect(seen.some(synced(join(directory, "raw")))).toBe(true);
    expect(seen.some(synced(shard))).toBe(true);
    expect(await readFile(join(shard, `${name}.eml`), "utf8")).toBe("one message");
    expect(await files(directory)).toHaveLength(1);
  });
});
