/** Where the tokens of a mailbox are kept: one small file, encrypted, written whole, readable by its owner only. */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { Fault, reasonOf } from "../base/errors.ts";
import { makeDirectory, writeWhole } from "../base/files.ts";
import { takeLease } from "./lease.ts";

export type Kept = {
  /** What it was asked for with; under another configuration it is of no use. */
  readonly asked: string;
  readonly refreshToken: string | null;
  readonly accessToken: string;
  /** Until when the access token is given away, ISO 8601. */
  readonly until: string;
};

export type Vault = {
  /** Null: nothing is kept. Throws `signin.key` when it cannot be decrypted, `signin.store` when it cannot be read. */
  readonly read: () => Promise<Kept | null>;
  /** Under `alone`. Durable when this resolves; otherwise throws `signin.store`, and what stood there stays. */
  readonly write: (kept: Kept) => Promise<void>;
  /** Runs `work` while no other process does so for this mailbox. Throws `signin.store`, and what `work` throws. */
  readonly alone: <T>(work: () => Promise<T>) => Promise<T>;
  /** Differs when somebody else has written since. */
  readonly stamp: () => Promise<string>;
};

const FORMAT = "billhook.signin/v1";
const CIPHER = "aes-256-gcm";
/** NIST SP 800-38D: 96 bits, random; a key may write 2^32 times. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** `key`: 32 bytes in base64, or in hexadecimal digits. */
export function openVault(directory: string, mailbox: string, key: string, clock: Clock): Vault {
  const secret = Buffer.from(key, key.length === 64 ? "hex" : "base64");
  const path = join(directory, `${mailbox}.json`);
  /** A file moved to another mailbox is not that mailbox's. */
  const bound = Buffer.from(`${FORMAT} ${mailbox}`);

  function seal(kept: Kept): string {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, secret, nonce, { authTagLength: TAG_BYTES }).setAAD(bound);
    const sealed = Buffer.concat([nonce, cipher.update(JSON.stringify(kept), "utf8"), cipher.final(), cipher.getAuthTag()]);
    return `${JSON.stringify({ format: FORMAT, mailbox, sealed: sealed.toString("base64") })}\n`;
  }

  function unseal(text: string): Kept {
    const bytes = Buffer.from((JSON.parse(text) as { readonly sealed: string }).sealed, "base64");
    const end = bytes.length - TAG_BYTES;
    const decipher = createDecipheriv(CIPHER, secret, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES }).setAAD(bound);
    decipher.setAuthTag(bytes.subarray(end));
    const plain = Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, end)), decipher.final()]);
    return JSON.parse(plain.toString("utf8")) as Kept;
  }

  async function read(): Promise<Kept | null> {
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (thrown) {
      if (isMissing(thrown)) return null;
      throw storeFault("read", thrown);
    }
    try {
      return unseal(text);
    } catch {
      // Why it fails may quote what it failed on.
      throw new Fault(
        "signin.key",
        `The tokens of mailbox ${mailbox} in ${path} cannot be decrypted: they were stored with another key, or are damaged.`,
        {
          advice: `Give the key back they were stored with (secrets.key), or \`billhook login ${mailbox}\` stores new ones.`,
        },
      );
    }
  }

  async function write(kept: Kept): Promise<void> {
    try {
      await writeWhole(path, [Buffer.from(seal(kept))], 0o600);
    } catch (thrown) {
      throw storeFault("written", thrown);
    }
  }

  async function alone<T>(work: () => Promise<T>): Promise<T> {
    const giveBack = await lease().catch((thrown: unknown) => Promise.reject(storeFault("written", thrown)));
    try {
      return await work();
    } finally {
      await giveBack();
    }
  }

  async function lease(): Promise<() => Promise<void>> {
    await makeDirectory(directory, 0o700);
    return takeLease(join(directory, `${mailbox}.lease`), clock);
  }

  async function stamp(): Promise<string> {
    try {
      const { ino, size, mtimeMs } = await stat(path);
      return `${ino} ${size} ${mtimeMs}`;
    } catch (thrown) {
      return isMissing(thrown) ? "" : reasonOf(thrown);
    }
  }

  function storeFault(what: string, thrown: unknown): Fault {
    return new Fault("signin.store", `The tokens of mailbox ${mailbox} cannot be ${what} in ${path}: ${reasonOf(thrown)}.`, {
      advice: "Check the disk and who may write there; nothing that cannot be stored is used.",
    });
  }

  return { read, write, alone, stamp };
}

function isMissing(thrown: unknown): boolean {
  return (thrown as NodeJS.ErrnoException).code === "ENOENT";
}
