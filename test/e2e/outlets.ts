/** A stage with a sink of every kind at once, each with a real other side: files, two receivers of webhooks, a submission server. */
import { createHash } from "node:crypto";
import { type Receiver, startReceiver } from "../servers/receiver.ts";
import { type SmtpServer, startSmtp } from "../servers/smtp.ts";
import { fixtures, type Stage, type StageOptions, startStage } from "./stage.ts";

export type Outlets = {
  readonly stage: Stage;
  /** JSON, a delivery for each document. */
  readonly erp: Receiver;
  /** Forms with every attachment and the message as it arrived, one for each mail. */
  readonly archive: Receiver;
  readonly smtp: SmtpServer;
  readonly stop: () => Promise<void>;
};

const secretOf = (byte: number) => `whsec_${Buffer.alloc(32, byte).toString("base64")}`;
const QUICK = "retry: { first: 200ms, longest: 1s }";
/** A server that falls silent costs a test no longer than this. */
const TIMEOUT = "timeout: 20s";

export async function startOutlets(options: Omit<StageOptions, "sink" | "sinks" | "beside"> = {}): Promise<Outlets> {
  const [old, fresh] = [secretOf(1), secretOf(2)];
  const [erp, archive, smtp] = await Promise.all([startReceiver({ secrets: [old, fresh] }), startReceiver(), startSmtp()]);
  const http = (url: string, ...more: string[]) =>
    `{ kind: http, url: "${url}", allowPrivate: true, ${QUICK}, ${TIMEOUT}, ${more.join(", ")} }`;
  const door = `host: ${smtp.host}, port: ${smtp.port}, ca: ./smtp.pem, user: ${smtp.user}, password: ${smtp.password}`;
  const stage = await startStage({
    ...options,
    beside: { "smtp.pem": smtp.ca },
    sinks: [
      'json: { kind: file, directory: ./out, name: "{{message}}-{{position}}.json" }',
      'table: { kind: file, directory: ./out, name: "all.csv", format: csv, failures: true }',
      `erp: ${http(erp.url, `headers: { X-Invoice: "{{ invoices[0].invoice.number }}" }`, "auth: { bearer: erp-token }", `secrets: [${old}, ${fresh}]`)}`,
      `archive: ${http(archive.url, "method: PUT", "format: multipart, attachments: true, raw: true", "per: message")}`,
      `reply: { kind: smtp, ${door}, from: "Invoices <invoices@billing.example>", to: sender, allow: "*.example", attach: { csv: true, originals: true }, ${QUICK}, ${TIMEOUT} }`,
    ],
  });
  return {
    stage,
    erp,
    archive,
    smtp,
    stop: async () => {
      await Promise.all([stage.stop(), erp.stop(), archive.stop(), smtp.stop()]);
    },
  };
}

export type Mail = { readonly id: string; readonly raw: Buffer };

export function mailOf(raw: Buffer): Mail {
  return { id: createHash("sha256").update(raw).digest("hex"), raw };
}

/** A fixture by the number in its name, with fields of one's own above its header, so that it is another message. */
export async function fixture(number: string, ...fields: string[]): Promise<Mail> {
  const found = (await fixtures()).find(({ name }) => name.startsWith(`${number}-`));
  if (found === undefined) throw new Error(`there is no fixture ${number}`);
  return mailOf(Buffer.concat([Buffer.from(fields.map((field) => `${field}\r\n`).join("")), found.raw]));
}
