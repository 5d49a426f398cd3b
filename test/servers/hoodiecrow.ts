/** hoodiecrow-imap in this process: no TLS, keeps every byte as given, and can be told to refuse messages. */
import { once } from "node:events";
import { createRequire } from "node:module";
import type { Server, Socket } from "node:net";
import type { ImapServer } from "./dovecot.ts";

export type Hoodiecrow = ImapServer & {
  /** From now on a FETCH of a body that includes such a UID is answered with NO. */
  readonly refuse: (matches: (uid: number) => boolean) => void;
  /** Removes a message as another client does. */
  readonly expunge: (folder: string, uid: number) => void;
};

/** What is used of hoodiecrow-imap, which has no types of its own. */
type Message = { readonly uid: number };
type Mailbox = { readonly messages: Message[] };
type Connection = { readonly selectedMailbox: Mailbox; readonly expungeSpecificMessages: (mailbox: Mailbox, which: Message[]) => void };
type Parsed = { readonly tag: string; readonly attributes: readonly [{ readonly value: string }, unknown] };
type Handler = (connection: Connection & { send: (response: object) => void }, parsed: Parsed, data: string, done: () => void) => void;
type Crow = {
  readonly server: Server;
  readonly listen: (port: number, host: string) => void;
  readonly getMailbox: (path: string) => Mailbox | undefined;
  readonly createMailbox: (path: string) => void;
  readonly appendMessage: (path: string, flags: string[], receivedAt: Date | undefined, raw: string) => void;
  readonly getMessageRange: (mailbox: Mailbox, range: string, byUid: boolean) => [number, Message][];
  readonly getCommandHandler: (command: string) => Handler;
  readonly setCommandHandler: (command: string, handler: Handler) => void;
  readonly notify: (command: object, mailbox: Mailbox) => void;
};

const HOST = "127.0.0.1";
const PLUGINS = ["ID", "IDLE", "NAMESPACE", "UNSELECT", "UIDPLUS", "MOVE", "ENABLE", "CONDSTORE", "LITERALPLUS", "AUTH-PLAIN", "SASL-IR"];

export async function startHoodiecrow(options: { readonly plugins?: readonly string[] } = {}): Promise<Hoodiecrow> {
  const [user, password] = ["ap@example.com", "crow-Pass-1"];
  const create = createRequire(import.meta.url)("hoodiecrow-imap") as (options: object) => Crow;
  const crow = create({ plugins: [...(options.plugins ?? PLUGINS)], users: { [user]: { password } }, storage: { INBOX: {}, "": {} } });
  const sockets = new Set<Socket>();
  crow.server.on("connection", (socket) => {
    // It writes line by line: with Nagle's algorithm every command would take 40 ms.
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  let refused: (uid: number) => boolean = () => false;
  for (const command of ["FETCH", "UID FETCH"]) {
    const handler = crow.getCommandHandler(command);
    crow.setCommandHandler(command, (connection, parsed, data, done) => {
      const asked = crow.getMessageRange(connection.selectedMailbox, parsed.attributes[0].value, command === "UID FETCH");
      if (!/BODY\.PEEK\[/i.test(data) || !asked.some(([, message]) => refused(message.uid))) return handler(connection, parsed, data, done);
      connection.send({ tag: parsed.tag, command: "NO", attributes: [{ type: "TEXT", value: "That message is damaged" }] });
      done();
    });
  }
  crow.listen(0, HOST);
  await once(crow.server, "listening");
  const address = crow.server.address();
  return {
    name: "hoodiecrow",
    host: HOST,
    port: typeof address === "object" && address !== null ? address.port : 0,
    user,
    password,
    append: async (folder, raw, { receivedAt } = {}) => crow.appendMessage(folder, [], receivedAt, Buffer.from(raw).toString("latin1")),
    createFolder: async (folder) => crow.createMailbox(folder),
    refuse: (matches) => {
      refused = matches;
    },
    expunge: (folder, uid) => {
      const mailbox = crow.getMailbox(folder);
      const index = mailbox?.messages.findIndex((message) => message.uid === uid) ?? -1;
      if (mailbox === undefined || index < 0) throw new Error(`No UID ${uid} in ${folder}`);
      mailbox.messages.splice(index, 1);
      crow.notify({ tag: "*", attributes: [index + 1, { type: "ATOM", value: "EXPUNGE" }] }, mailbox);
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      crow.server.close();
      await once(crow.server, "close");
    },
  };
}
