/** The sinks of the configuration: what every kind understands, and the keys of each. */
import { z } from "zod";
import { retry } from "./retry.ts";
import {
  address,
  choice,
  duration,
  endpoint,
  host,
  httpUrl,
  kindOf,
  likeAddresses,
  line,
  path,
  permissions,
  section,
  template,
  text,
  whole,
  yesOrNo,
} from "./values.ts";

/** What the pipeline does with every kind of sink. */
const shared = (per: "document" | "message", failures: boolean) => ({
  per: choice("document", "message").default(per).meta({
    description: "document: a delivery for each document of a mail. message: one for the whole mail, when all of them are read.",
  }),
  failures: yesOrNo().default(failures).meta({ description: "Whether what could not be read is delivered too, with the reason." }),
  retry: retry("76h").prefault({}).meta({ description: "When to try a delivery again after a failure that may pass." }),
});

const kind = <const K extends string>(is: K) => z.literal(is, is).meta({ description: "The sink this is.", expected: is, examples: [is] });

const pem = (description: string, example: string) =>
  path("the path of a PEM file")
    .nullable()
    .default(null)
    .meta({ description, examples: [example] });

const DEFAULT_NAME = { json: "{{date}}/{{message}}-{{position}}.json", jsonl: "{{mailbox}}.jsonl", csv: "{{mailbox}}.csv" } as const;

const file = section({
  kind: kind("file"),
  directory: path("a directory").meta({ description: "Where the files are written; made when it is not there.", examples: ["./out"] }),
  name: template()
    .optional()
    .meta({
      examples: ["{{issueDate}}/{{seller}}-{{number}}.json"],
      description:
        "The file's name below the directory; when left out {{date}}/{{message}}-{{position}}.json, for jsonl {{mailbox}}.jsonl, for csv {{mailbox}}.csv. Words of the mail: message and document (ids), position (1 for the first document), service, mailbox, date, subject, from, messageId. Of the first invoice: issueDate, dueDate, number, type, currency, seller, buyer, net, tax, gross. Of what the service gave: data.FIELD. Values are made safe, and nothing is overwritten. Quote it in YAML.",
    }),
  format: choice("json", "jsonl", "csv").default("json").meta({
    description:
      "json: a file for each delivery. jsonl: a line for each delivery, appended to the named file. csv: a row for each invoice, appended to the named file.",
  }),
  attachments: yesOrNo().default(false).meta({ description: "Whether the attachments are written beside it." }),
  raw: yesOrNo().default(false).meta({ description: "Whether the message is written beside it, as .eml." }),
  mode: permissions("0640", "four octal digits in quotes by which the owner may read", /^0[4-7][0-7]{2}$/).meta({
    description: "Permissions of the files it makes; when left out 0640, less the umask.",
  }),
  directoryMode: permissions("0750", "four octal digits in quotes by which the owner may do everything", /^07[0-7]{2}$/).meta({
    description: "Permissions of the directories it makes; when left out 0750, less the umask.",
  }),
  owner: section({
    uid: whole(0, 4_294_967_294, "the number of a user").meta({ description: "The number of the user.", examples: [1000] }),
    gid: whole(0, 4_294_967_294, "the number of a group").meta({ description: "The number of the group.", examples: [1000] }),
  })
    .optional()
    .transform((it) => it ?? null)
    .meta({ description: "Whose the files and directories are that it makes; only root can give them away." }),
  ...shared("document", false),
})
  .transform(({ name, ...rest }) => ({ ...rest, name: name ?? DEFAULT_NAME[rest.format] }))
  .meta({ description: "Files in a directory." });

const AUTH = "{ bearer: token } or { basic: { user: name, password: text } }";

const auth = z
  .union(
    [
      section({
        bearer: line("a token of visible ASCII characters on one line", /^[\x21-\x7e]+$/).meta({
          description: "The token (RFC 6750).",
          writeOnly: true,
        }),
      }),
      section({
        basic: section({
          user: line("a user name without a colon", /^[^:\x00-\x1f\x7f]+$/).meta({ description: "Who logs in (RFC 7617)." }),
          password: line("a password").meta({ description: "The password.", writeOnly: true }),
        }),
      }),
    ],
    { error: AUTH },
  )
  .optional()
  .transform((it) => it ?? null)
  .meta({ description: "How to log in; not at all when left out.", expected: AUTH });

/** Those of the connection, and those that tell one delivery from another; the sink sets them. */
const SET_BY_BILLHOOK =
  "host|content-length|transfer-encoding|connection|keep-alive|proxy-connection|proxy-authorization|te|trailer|upgrade|expect|idempotency-key|webhook-id|webhook-timestamp|webhook-signature";
/** RFC 9110 section 5.1. */
const FIELD_NAME = new RegExp(`^(?!(${SET_BY_BILLHOOK})$)[!#$%&'*+.^_\`|~0-9a-z-]{1,100}$`, "i");

/** Standard Webhooks: a key of 24 to 64 bytes. */
function isSigningSecret(text: string): boolean {
  const base64 = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text)?.[1] ?? "";
  const key = Buffer.from(base64, "base64");
  return key.length >= 24 && key.length <= 64 && key.toString("base64").replace(/=+$/, "") === base64.replace(/=+$/, "");
}

const SECRETS = "a list of at most two secrets";

const http = section({
  kind: kind("http"),
  url: endpoint().meta({ description: "What is called for each delivery.", examples: ["https://erp.example.com/invoices"] }),
  method: choice("POST", "PUT").default("POST").meta({ description: "The method of the request." }),
  format: choice("json", "multipart").default("json").meta({
    description: "json: the delivery as JSON. multipart: a form (RFC 7578) with the delivery as its field delivery, then the files.",
  }),
  attachments: yesOrNo().default(false).meta({ description: "With format: multipart, whether the attachments are sent." }),
  raw: yesOrNo().default(false).meta({ description: "With format: multipart, whether the message is sent as it arrived." }),
  headers: z
    .record(
      z.string().regex(FIELD_NAME, "the name of an HTTP field that billhook does not set itself"),
      line("a text on one line (quote a number)"),
      { error: (issue) => (issue.code === "invalid_type" ? "a mapping of texts" : undefined) },
    )
    .default({})
    .meta({
      description: "Fields added to the request; {{ }} holds JSONata on what is delivered. Quote them in YAML.",
      expected: "a mapping of texts",
      examples: [{ "X-Invoice": "{{ invoices[0].invoice.number }}" }],
    }),
  body: text("a JSONata expression")
    .nullable()
    .default(null)
    .meta({
      description: "The JSON that is sent, as JSONata on what is delivered; that itself when left out.",
      examples: ['{ "number": invoices[0].invoice.number }'],
    }),
  auth,
  secrets: z
    .array(
      z
        .string("a secret of whsec_ and base64")
        .refine(isSigningSecret, "a secret: whsec_ and the base64 of 24 to 64 bytes, such as `openssl rand -base64 32` makes"),
      SECRETS,
    )
    .max(2, SECRETS)
    .default([])
    .meta({
      description: "Secrets the requests are signed with (Standard Webhooks): one, or two while they are changed.",
      expected: SECRETS,
      writeOnly: true,
    }),
  timeout: duration().prefault("30s").meta({ description: "The longest one request may take." }),
  ca: pem("A PEM file with more CA certificates to trust for this server.", "./ca.pem"),
  certificate: pem("A PEM file with the certificate shown to the server; needs key.", "./client.pem"),
  key: pem("A PEM file with the private key of the certificate, without a password.", "./client.key"),
  allowPrivate: yesOrNo().default(false).meta({
    description: "Needed for addresses that are not of the public internet: this machine, and private networks.",
  }),
  allowPlaintext: yesOrNo()
    .default(false)
    .meta({ description: "Needed for an http URL on anything but loopback: the invoice data is then readable on the way." }),
  id: line("the path of a field, such as id or data.id", /^[^.\s\x00-\x1f\x7f]{1,100}(\.[^.\s\x00-\x1f\x7f]{1,100})*$/)
    .nullable()
    .default("id")
    .meta({ description: "The field of a JSON answer that is kept in the receipt." }),
  ...shared("document", false),
}).meta({ description: "A request to an HTTP server for each delivery." });

const PORT = { implicit: 465, starttls: 587, none: 25 } as const;
const PER_HOUR = 10;
const ADDRESS = "a mail address such as ap@example.com";

const smtp = section({
  kind: kind("smtp"),
  host: host("smtp.example.com").meta({ description: "The server mail is handed to.", examples: ["smtp.example.com"] }),
  port: whole(1, 65_535, "a port number from 1 to 65535")
    .optional()
    .meta({ description: "465 when left out, 587 with tls: starttls, 25 with tls: none.", examples: [465] }),
  tls: choice("implicit", "starttls", "none")
    .default("implicit")
    .meta({ description: "implicit: TLS from the first byte. starttls: the server must offer STARTTLS. none: no encryption." }),
  allowPlaintext: yesOrNo()
    .default(false)
    .meta({ description: "Needed for tls: none on anything but loopback: password and mail are then readable on the way." }),
  ca: pem("A PEM file with more CA certificates to trust for this server.", "./ca.pem"),
  user: line("the login name of the account")
    .nullable()
    .default(null)
    .meta({ description: "Who logs in, with password or oauth2; nobody when left out.", examples: ["invoices@example.com"] }),
  password: line("a password").nullable().default(null).meta({ description: "The password of the account.", writeOnly: true }),
  oauth2: section({
    clientId: line("the id of a client").meta({ description: "The id of the application that was registered." }),
    clientSecret: line("the secret of a client")
      .nullable()
      .default(null)
      .meta({ description: "Its secret, where it has one.", writeOnly: true }),
    refreshToken: line("a refresh token").meta({ description: "The token by which new ones are asked for.", writeOnly: true }),
    tokenUrl: httpUrl().meta({ description: "Where they are asked for." }),
  })
    .optional()
    .transform((it) => it ?? null)
    .meta({ description: "Instead of password: OAuth 2.0 (RFC 6749 section 6), by XOAUTH2." }),
  from: address("a mail address such as invoices@example.com or Invoices <invoices@example.com>", { named: true }).meta({
    description: "Who the mail is from; bounces go there too.",
    examples: ["Invoices <invoices@example.com>"],
  }),
  to: z
    .union([z.literal("sender"), address(ADDRESS), z.array(address(ADDRESS)).min(1)], { error: `sender, ${ADDRESS}, or a list of them` })
    .transform((it): "sender" | readonly string[] => (it === "sender" ? it : [it].flat()))
    .meta({
      description: "sender: an answer to whoever sent the mail, which needs allow or authserv. Or addresses of your own.",
      expected: "sender, a mail address or a list of them",
    }),
  allow: likeAddresses()
    .optional()
    .transform((it) => it ?? [])
    .meta({ description: "With to: sender, who is answered without proof, by the address in From, which anybody can write." }),
  authserv: line("the name of a mail server, as in Authentication-Results", /^[\x21-\x3a\x3c-\x7e]+$/)
    .nullable()
    .default(null)
    .meta({
      description:
        "With to: sender, your own mail server: answered is whoever its Authentication-Results (RFC 8601) say passed DMARC, or DKIM of their domain.",
      examples: ["mx.example.com"],
    }),
  perHour: whole(1, 1_000, "a whole number from 1 to 1000")
    .optional()
    .meta({ description: `With to: sender, the most answers to one address in an hour; ${PER_HOUR} when left out.`, examples: [PER_HOUR] }),
  attach: section({
    json: yesOrNo().default(true).meta({ description: "What is delivered, as JSON." }),
    csv: yesOrNo().default(false).meta({ description: "The invoices as rows of CSV." }),
    originals: yesOrNo().default(false).meta({ description: "The attachments that were read, up to 15 MB." }),
  })
    .prefault({})
    .meta({ description: "What is attached to the mail." }),
  timeout: duration().prefault("60s").meta({ description: "The longest silence of the server." }),
  ...shared("message", true),
})
  .transform(({ port, perHour, ...rest }) => ({
    ...rest,
    port: port ?? PORT[rest.tls],
    // Fixed addresses have no limit; that none was written there is for the rules to see.
    perHour: perHour ?? (rest.to === "sender" ? PER_HOUR : Number.POSITIVE_INFINITY),
  }))
  .meta({ description: "A mail: an answer to the sender, or to addresses of your own." });

export const sink = z.discriminatedUnion("kind", [file, http, smtp], kindOf("the kind of a sink: file, http or smtp"));

export type Sink = z.output<typeof sink>;
export type File = z.output<typeof file>;
export type Http = z.output<typeof http>;
export type Smtp = z.output<typeof smtp>;
