/** The configuration, once: every key with its type, its default and what it is for. Checks, types, JSON Schema and reference come from here. */
import { z } from "zod";
import { service } from "./service.ts";
import { choice, cron, day, duration, host, keyword, kindOf, line, named, path, section, template, whole, yesOrNo } from "./values.ts";

const state = section({
  directory: path("a directory")
    .default("./state")
    .meta({ description: "Where the ledger and the messages are kept. One daemon at a time; it must survive restarts." }),
}).meta({ description: "What billhook remembers." });

const log = section({
  level: choice("debug", "info", "warn", "error").default("info").meta({ description: "The least important events written." }),
  format: choice("auto", "pretty", "json")
    .default("auto")
    .meta({ description: "pretty is for people, json for machines; auto is pretty on a terminal and json elsewhere." }),
  addresses: yesOrNo().default(false).meta({ description: "Whether full mail addresses are written; otherwise only a…@example.com." }),
}).meta({ description: "The log, on standard error." });

export const retry = section({
  first: duration().prefault("5s").meta({ description: "Wait before the second try; it grows from there." }),
  longest: duration().prefault("30m").meta({ description: "The longest wait between two tries." }),
  giveUpAfter: duration().prefault("3d").meta({ description: "How long an effect is tried before it is failed and a person must look." }),
}).meta({ description: "When to try again after a failure that may pass." });

const action = z
  .union(
    [
      choice("none", "seen", "flag", "delete").transform((is) => ({ is })),
      section({ move: line("a folder name").meta({ description: "The folder to move to; made when it is not there." }) }).transform(
        ({ move }) => ({ is: "move" as const, folder: move }),
      ),
      section({ keyword: keyword().meta({ description: "The IMAP keyword to set." }) }).transform(({ keyword }) => ({
        is: "keyword" as const,
        keyword,
      })),
    ],
    { error: "none, seen, flag, delete, { move: Folder } or { keyword: name }" },
  )
  .meta({ expected: "none, seen, flag, delete, { move: Folder } or { keyword: name }" });

const start = z
  .union(
    [
      choice("now", "all").transform((is) => ({ is })),
      section({ since: day().meta({ description: "The first day of mail to take, UTC." }) }).transform(({ since }) => ({
        is: "since" as const,
        date: since,
      })),
    ],
    { error: "now, all or { since: 2026-01-01 }" },
  )
  .meta({ expected: "now, all or { since: 2026-01-01 }" });

const afterwards = section({
  done: action.prefault("none").meta({ description: "When every delivery of the message was made." }),
  failed: action.prefault("flag").meta({ description: "When the message failed and a person must look." }),
});

export const mailbox = section({
  host: host("imap.example.com").meta({ description: "The IMAP server.", examples: ["imap.example.com"] }),
  port: whole(1, 65_535, "a port number from 1 to 65535")
    .optional()
    .meta({ description: "993 when left out, 143 when tls is not implicit.", examples: [993] }),
  tls: choice("implicit", "starttls", "none")
    .default("implicit")
    .meta({ description: "implicit: TLS from the first byte. starttls: the server must offer STARTTLS. none: no encryption." }),
  allowPlaintext: yesOrNo()
    .default(false)
    .meta({ description: "Needed for tls: none on anything but loopback: password and mail are then readable on the way." }),
  ca: path("the path of a PEM file")
    .nullable()
    .default(null)
    .meta({ description: "A PEM file with more CA certificates to trust for this server.", examples: ["./ca.pem"] }),
  user: line("the login name of the account").meta({ description: "Who logs in.", examples: ["invoices@example.com"] }),
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
  password: line("a password").meta({ description: "The password of the account.", examples: ["${IMAP_PASSWORD}"], writeOnly: true }),
  folder: line("a folder name").default("INBOX").meta({ description: "The folder that is watched." }),
  start: start.prefault("now").meta({
    description: "What the mail already there means when the folder is seen for the first time.",
  }),
  sweep: cron().default("*/1 * * * *").meta({
    description: "When the folder is looked through, besides the server's own notice (IDLE); cron with 5 fields, 6 with seconds.",
  }),
  afterwards: afterwards.prefault({}).meta({ description: "What the mailbox is told at the end." }),
})
  .transform(({ port, ...rest }) => ({ ...rest, port: port ?? (rest.tls === "implicit" ? 993 : 143) }))
  .meta({ description: "A folder of an account that is watched." });

const file = section({
  kind: z.literal("file", "file").meta({ description: "The sink this is.", expected: "file", examples: ["file"] }),
  directory: path("a directory").meta({ description: "Where the files are written; made when it is not there.", examples: ["./out"] }),
  name: template()
    .optional()
    .meta({
      examples: ["{{date}}/{{message}}-{{position}}.json"],
      description:
        "The file's name below the directory; when left out {{date}}/{{message}}-{{position}}.json, for jsonl {{mailbox}}.jsonl. Words: message and document (ids), position (1 for the first document), mailbox, date, subject, from, messageId, data.FIELD. Values are made safe. Quote it in YAML.",
    }),
  format: choice("json", "jsonl")
    .default("json")
    .meta({ description: "json: a file for each document. jsonl: one line for each delivery, appended to the named file." }),
  attachments: yesOrNo().default(false).meta({ description: "Whether the attachments are written beside it." }),
})
  .transform(({ name, ...rest }) => ({
    ...rest,
    name: name ?? (rest.format === "jsonl" ? "{{mailbox}}.jsonl" : "{{date}}/{{message}}-{{position}}.json"),
  }))
  .meta({ description: "Files in a directory." });

export const sink = z.discriminatedUnion("kind", [file], kindOf("the kind of a sink: file"));

const web = section({
  host: host("localhost")
    .default("127.0.0.1")
    .meta({ description: "The address listened on; 0.0.0.0 is every one of IPv4, :: of IPv6 too." }),
  port: whole(1, 65_535, "a port number from 1 to 65535")
    .default(8080)
    .meta({ description: "The port listened on.", examples: [8080] }),
})
  .optional()
  .transform((it) => it ?? null)
  .meta({ description: "The HTTP server that webhooks come in by. Nothing is listened on when it is left out." });

export const schema = section({
  state: state.prefault({}),
  log: log.prefault({}),
  concurrency: whole(1, 64, "a whole number from 1 to 64").default(8).meta({ description: "How many tasks are worked on at once." }),
  retry: retry.prefault({}),
  mailboxes: named(mailbox).meta({ description: "The mailboxes that are watched, by a name of your own; at least one.", minProperties: 1 }),
  services: named(service).meta({
    description: "The extraction service, by a name of your own; exactly one in this version.",
    minProperties: 1,
    maxProperties: 1,
  }),
  sinks: named(sink).meta({
    description: "Where results go, by a name of your own; at least one. Each gets every result.",
    minProperties: 1,
  }),
  web,
});

/** What the daemon is given: defaults in place, durations in milliseconds, sizes in bytes, paths absolute. */
export type Config = z.output<typeof schema>;
export type Retry = z.output<typeof retry>;
export type Mailbox = z.output<typeof mailbox>;
export type Sink = z.output<typeof sink>;
