/** The smtp sink for the contract suite: its other side is a submission server of its own. */
import { type ParsedMail, simpleParser } from "mailparser";
import { systemClock } from "../../src/base/clock.ts";
import type { Sink } from "../../src/sink/sink.ts";
import type { Limit } from "../../src/sink/smtp/limit.ts";
import { createSmtpSink, type SmtpSinkOptions } from "../../src/sink/smtp.ts";
import type { OtherSide, SinkUnderTest } from "../contract/sinks.ts";
import { type Answer, type Step, startSmtp, type Taken } from "../servers/smtp.ts";

export const FROM = "invoices@example.com";
const TO = "books@buyer.example";

type Door = Pick<SmtpSinkOptions, "host" | "port" | "ca" | "user" | "password">;

/** A sink that speaks to this server; to the sender of the mail unless said otherwise. */
export function smtpSink(
  server: Door,
  options: Partial<SmtpSinkOptions> = {},
  sentTo: Limit["sentTo"] = async () => 0,
  clock = systemClock,
): Sink {
  const { host, port, ca, user, password } = server;
  const all: SmtpSinkOptions = {
    name: "reply",
    ...{ host, port, ca, user, password },
    tls: "implicit",
    oauth2: null,
    timeoutMs: 10_000,
    from: `Invoices <${FROM}>`,
    to: "sender",
    allow: ["*@seilerei.example"],
    authserv: null,
    own: [],
    perHour: 10,
    attach: { json: true, csv: true, originals: false },
    ...options,
  };
  return createSmtpSink(all, { clock, sentTo });
}

const breaks: Readonly<Record<string, readonly [Step, Answer]>> = {
  "the greeting refuses": ["greeting", 554],
  "the login is wrong": ["login", 535],
  "the login is put off": ["login", 454],
  "the sender is refused": ["MAIL FROM", 553],
  "the recipient is unknown": ["RCPT TO", 550],
  "the recipient is put off": ["RCPT TO", 450],
  "the mail is refused": ["dot", 554],
  "the mail is put off": ["dot", 451],
  "the server hangs up at the recipient": ["RCPT TO", "cut"],
  "the server hangs up after it has taken the mail": ["dot", "cut"],
  "silence instead of a greeting": ["greeting", "silence"],
  "silence after the login": ["login", "silence"],
  "silence after the sender": ["MAIL FROM", "silence"],
  "silence after the mail": ["dot", "silence"],
};

export const smtpUnderTest: SinkUnderTest = {
  name: "smtp",
  attachments: true,
  repeats: "told",
  failures: [
    { what: "the greeting refuses", code: "smtp.deferred", temporary: true, knocked: true },
    { what: "the login is wrong", code: "smtp.login", temporary: true, halts: true, knocked: true },
    { what: "the login is put off", code: "smtp.deferred", temporary: true, knocked: true },
    { what: "the sender is refused", code: "smtp.sender", temporary: true, halts: true },
    { what: "the recipient is unknown", code: "smtp.refused", temporary: false },
    { what: "the recipient is put off", code: "smtp.deferred", temporary: true },
    { what: "the mail is refused", code: "smtp.refused", temporary: false },
    { what: "the mail is put off", code: "smtp.deferred", temporary: true },
    { what: "the server hangs up at the recipient", code: "smtp.connect", temporary: true },
    { what: "the server hangs up after it has taken the mail", code: "smtp.lost", temporary: true, taken: true },
  ],
  silences: Object.keys(breaks).filter((what) => what.startsWith("silence")),
  secrets: ["smtp-Pass-1", Buffer.from("smtp-Pass-1").toString("base64")],
  start: async (): Promise<OtherSide> => {
    const server = await startSmtp();
    return {
      make: () => smtpSink(server, { to: [TO], attach: { json: true, csv: true, originals: true } }),
      received: () => Promise.all(server.taken.map(legible)),
      strays: async () => (await Promise.all(server.taken.map(straysOf))).flat(),
      break: async (what) => {
        const [step, answer] = breaks[what] ?? [];
        if (step === undefined || answer === undefined) throw new Error(`cannot break: ${what}`);
        server.answer(step, answer);
        return async () => server.answer(step, null);
      },
      stop: server.stop,
    };
  },
};

const parsed = new WeakMap<Taken, Promise<ParsedMail>>();

export function mailOf(taken: Taken): Promise<ParsedMail> {
  const mail = parsed.get(taken) ?? simpleParser(Buffer.from(taken.raw, "latin1"));
  parsed.set(taken, mail);
  return mail;
}

/** The Date apart, which is of the try. */
async function legible(taken: Taken): Promise<{ readonly id: string; readonly text: string }> {
  const mail = await mailOf(taken);
  const attached = mail.attachments.map(({ filename, content }) => `${filename}\n${content.toString("utf8")}`);
  const header = mail.headerLines.filter(({ key }) => key !== "date").map(({ line }) => line);
  return { id: mail.messageId ?? "", text: [...header, mail.subject, mail.text, mail.html, ...attached].join("\n") };
}

const FIELDS = [
  "from to subject message-id date auto-submitted x-auto-response-suppress mime-version content-type",
  "in-reply-to references",
].flatMap((names) => names.split(" "));

/** Header fields, recipients, parts nobody meant. */
export async function straysOf(taken: Taken): Promise<readonly string[]> {
  const { from, to, raw } = taken;
  const mail = await mailOf(taken);
  const keys = mail.headerLines.map(({ key }) => key);
  const addressed = [mail.to ?? []].flat().flatMap(({ value }) => value.map(({ address }) => address ?? ""));
  const html = mail.html === false ? "" : mail.html;
  return [
    ...keys.filter((key) => !FIELDS.includes(key) || keys.indexOf(key) !== keys.lastIndexOf(key)),
    ...[...to, ...addressed].filter((address) => address !== TO && !address.endsWith("@seilerei.example")),
    ...(from === FROM ? [] : [`sender ${from}`]),
    ...(html.match(/<(script|img|a|link|style|iframe)\b|\b(src|href|onerror)\s*=(?![^<]*<\/(td|p|bdi|h2)>)/gi) ?? []),
    ...(raw.match(/^content-type:\s*message\/.*/gim) ?? []),
    ...mail.attachments.flatMap(({ filename = "" }) => (/[/\\\p{Cc}\p{Cf}]/u.test(filename) ? [`attachment ${filename}`] : [])),
  ];
}
