/** The mailboxes of the configuration, and what a mailbox is told about a mail. */
import { z } from "zod";
import { oauth2 } from "./oauth2.ts";
import { choice, cron, day, host, keyword, line, path, section, size, whole, yesOrNo } from "./values.ts";

const ACTION = "none, seen, flag, delete, { move: Folder }, { keyword: name } or, at Gmail, { label: name }";

/** What is done with one mail in its mailbox. */
export const action = z
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
      section({ label: line("a label").meta({ description: "The label of Gmail to add; made when it is not there." }) }).transform(
        ({ label }) => ({
          is: "label" as const,
          label,
        }),
      ),
    ],
    { error: ACTION },
  )
  .meta({ expected: ACTION });

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
  user: line("the login name of the account").meta({
    description: "Who logs in; with oauth2 it may be a shared mailbox.",
    examples: ["invoices@example.com"],
  }),
  password: line("a password")
    .nullable()
    .default(null)
    .meta({
      description: "The password of the account, or of this application; otherwise oauth2.",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
      examples: ["${IMAP_PASSWORD}"],
      writeOnly: true,
    }),
  oauth2,
  folder: line("a folder name").default("INBOX").meta({ description: "The folder that is watched." }),
  start: start.prefault("now").meta({
    description: "What the mail already there means when the folder is seen for the first time.",
  }),
  largest: size()
    .prefault("150MB")
    .meta({ description: "A larger message stays where it is and becomes a visible record, until `billhook retry` has it fetched." }),
  sweep: cron().default("*/1 * * * *").meta({
    description: "When the folder is looked through, besides the server's own notice (IDLE); cron with 5 fields, 6 with seconds.",
  }),
  afterwards: afterwards.prefault({}).meta({ description: "What the mailbox is told at the end." }),
})
  .transform(({ port, ...rest }) => ({ ...rest, port: port ?? (rest.tls === "implicit" ? 993 : 143) }))
  .meta({ description: "A folder of an account that is watched." });

export type Mailbox = z.output<typeof mailbox>;
