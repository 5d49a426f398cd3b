/** A mailbox to try billhook on: an IMAP server on loopback, an SMTP server and a folder that fill it. */
import { randomUUID } from "node:crypto";
import { type FSWatcher, watch } from "node:fs";
import { mkdir, readdir, readFile, rename } from "node:fs/promises";
import type { Server, Socket } from "node:net";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { permanent } from "../base/errors.ts";

export type MailServerOptions = {
  readonly clock: Clock;
  readonly user: string;
  readonly password: string;
  /** `.eml` files dropped here arrive; they are then moved to `taken/` below it. */
  readonly folder: string;
};

export type MailServer = {
  readonly imapPort: number;
  readonly smtpPort: number;
  /** Puts a message into INBOX; connected clients are told. */
  readonly append: (raw: Uint8Array) => void;
  readonly stop: () => Promise<void>;
};

/** What is used of hoodiecrow-imap 2.1.0, which brings no types. Message text is Latin-1, one character a byte. */
type Hoodiecrow = {
  readonly server: Server;
  readonly appendMessage: (mailbox: string, flags: readonly string[], internalDate: Date, raw: string) => unknown;
};

const PLUGINS = ["ID", "IDLE", "MOVE", "UIDPLUS", "LITERALPLUS", "ENABLE"];
const LARGEST = 50 * 1024 * 1024;

/** Needs the development packages hoodiecrow-imap and smtp-server: a checkout has them, a production install does not. */
export async function startMailServer({ clock, user, password, folder }: MailServerOptions): Promise<MailServer> {
  const { hoodiecrow, SMTPServer } = await packages();
  const imap = hoodiecrow({ plugins: PLUGINS, users: { [user]: { password } }, storage: { INBOX: {}, "": { folders: {} } } });
  const sockets = new Set<Socket>();
  imap.server.on("connection", (socket) => {
    // Hoodiecrow answers in small pieces; Nagle's algorithm makes 40 ms of each.
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const append = (raw: Uint8Array) => void imap.appendMessage("INBOX", [], clock.now(), Buffer.from(raw).toString("latin1"));

  const smtp = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS", "AUTH"],
    size: LARGEST,
    onData: (stream, _session, done) => {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        if (stream.sizeExceeded) return done(Object.assign(new Error("message too large for the demo"), { responseCode: 552 }));
        append(Buffer.concat(chunks));
        done();
      });
    },
  });
  smtp.on("error", () => {});

  await listen(imap.server);
  await listen(smtp.server);
  const watching = await watchFolder(folder, append);
  return {
    imapPort: portOf(imap.server),
    smtpPort: portOf(smtp.server),
    append,
    stop: async () => {
      watching.close();
      for (const socket of sockets) socket.destroy();
      await Promise.all([new Promise((resolve) => imap.server.close(resolve)), new Promise((resolve) => smtp.close(() => resolve(null)))]);
    },
  };
}

async function packages() {
  try {
    const hoodiecrow = ((await import("hoodiecrow-imap" as string)) as { default: (options: object) => Hoodiecrow }).default;
    const { SMTPServer } = await import("smtp-server");
    return { hoodiecrow, SMTPServer };
  } catch (thrown) {
    throw permanent(
      "config.demo",
      "the demo's mail server is not installed: it comes with the development packages",
      "run the demo in a checkout: git clone, npm ci, npm run demo",
      thrown,
    );
  }
}

async function watchFolder(folder: string, append: (raw: Uint8Array) => void): Promise<FSWatcher> {
  const taken = join(folder, "taken");
  await mkdir(taken, { recursive: true });
  let turn = Promise.resolve();
  const sizes = new Map<string, number>();
  const take = async () => {
    for (const name of (await readdir(folder)).filter((name) => name.toLowerCase().endsWith(".eml"))) {
      const raw = await readFile(join(folder, name));
      // Still being copied while it grows: the next change, or the next look, takes it.
      if (sizes.get(name) !== raw.length) {
        sizes.set(name, raw.length);
        setTimeout(look, SETTLE_MS);
        continue;
      }
      sizes.delete(name);
      await rename(join(folder, name), join(taken, `${randomUUID()}.eml`));
      append(raw);
    }
  };
  const look = () => {
    turn = turn.then(take).catch(() => {});
  };
  look();
  return watch(folder, look);
}

const SETTLE_MS = 150;

function listen(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve());
  });
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
