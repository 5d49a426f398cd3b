/** The smtp sink: a mail in reply to whoever sent the invoice, or to fixed addresses, handed to a submission server (RFC 6409). */
import parseAddresses from "nodemailer/lib/addressparser";
import { type Clock, unlessAborted } from "../base/clock.ts";
import { Fault, permanent } from "../base/errors.ts";
import type { Address } from "../message/message.ts";
import type { Delivery, Receipt, Sink } from "./sink.ts";
import { createSubmitter, type Submission } from "./smtp/connection.ts";
import { type Door, serverText } from "./smtp/faults.ts";
import { createLimit, type Limit } from "./smtp/limit.ts";
import { type Attach, compose } from "./smtp/mail.ts";
import { type Mailbox, mailboxOf, type Recipients, recipientOf } from "./smtp/recipient.ts";

export type SmtpSinkOptions = Submission & {
  /** As in a header field: `Invoices <invoices@example.com>`. Also the envelope's sender, to whom bounces go. */
  readonly from: string;
  readonly to: Recipients["to"];
  readonly allow: Recipients["allow"];
  readonly authserv: Recipients["authserv"];
  /** Addresses of the watched mailboxes and those the smtp sinks send from: what comes from them is not answered. */
  readonly own: Recipients["own"];
  readonly perHour: Limit["perHour"];
  readonly attach: Attach;
};

/** Throws `config.smtp-address` for an address that cannot stand in an SMTP command. */
export function createSmtpSink(options: SmtpSinkOptions, outside: { readonly clock: Clock; readonly sentTo: Limit["sentTo"] }): Sink {
  const { name, to, host, port, attach, perHour } = options;
  const { clock, sentTo } = outside;
  const [from, { domain }] = senderOf(options);
  for (const address of to === "sender" ? [] : to) if (mailboxOf(address) === null) throw unusable(name, "to", address);
  const door: Door = { name, host, port, secrets: secretsOf(options) };
  const submitter = createSubmitter(options, door);
  const recipients: Recipients = { ...options, own: [from.address, ...options.own] };
  const within = createLimit({ perHour, sentTo }, name, clock);
  const taken = createTaken();

  const send = async (delivery: Delivery, key: string, all: readonly string[], signal: AbortSignal): Promise<Receipt> => {
    signal.throwIfAborted();
    const mail = compose(delivery, key, { from, domain, to: all, isAnswer: to === "sender", attach, date: clock.now() });
    const envelope = { from: from.address, to: all.filter((address) => !taken.has(key, address)) };
    const info = await submitter.send(envelope, mail.open, signal);
    const refused = info.rejectedErrors ?? [];
    const later = refused.find(({ responseCode = 0 }) => responseCode < 500);
    if (later !== undefined) {
      taken.add(key, info.accepted);
      throw new Fault("smtp.deferred", `sink ${name}: ${host}:${port} cannot take one of the recipients now (${later.responseCode})`);
    }
    taken.forget(key);
    return {
      to: all.join(", ").toLowerCase(),
      messageId: mail.messageId,
      response: serverText(info.response, door),
      ...(refused.length === 0 ? {} : { refused: info.rejected.join(", ") }),
    };
  };

  const deliver: Sink["deliver"] = async (delivery, key, signal) => {
    signal.throwIfAborted();
    const recipient = recipientOf(delivery.facts, recipients);
    if ("skipped" in recipient) return recipient;
    const work = () => send(delivery, key, recipient.to, signal);
    if (to !== "sender") return work();
    const address = recipient.to.join().toLowerCase();
    // Who waits for a turn need not wait for those before.
    const receipt = await unlessAborted(within(address, key, work, isLost), signal);
    // Not sent later either: what goes in a circle would only go on more slowly.
    return receipt ?? { skipped: `${perHour} answers have gone to this address within an hour` };
  };

  const destination: Sink["destination"] = ({ facts }) => {
    const recipient = recipientOf(facts, recipients);
    const answer = to === "sender";
    if ("skipped" in recipient) return `no ${answer ? "answer" : "mail"}: ${recipient.skipped}`;
    return `a mail to ${recipient.to.join(", ")}${answer ? " in reply" : ""}`;
  };

  return { name, deliver, destination, probe: submitter.probe };
}

function isLost(thrown: unknown): boolean {
  return thrown instanceof Fault && thrown.code === "smtp.lost";
}

function senderOf({ name, from }: SmtpSinkOptions): readonly [Address, Mailbox] {
  const [first, ...more] = parseAddresses(from, { flatten: true });
  const mailbox = mailboxOf(first?.address ?? "");
  if (first === undefined || mailbox === null || more.length > 0) throw unusable(name, "from", from);
  return [{ name: first.name, address: mailbox.address }, mailbox];
}

function unusable(sink: string, key: string, value: string): Fault {
  return permanent("config.smtp-address", `sink ${sink}: ${key} is not one mail address: ${value}`, "write it like invoices@example.com");
}

function secretsOf({ password, oauth2 }: Submission): readonly string[] {
  const plain = [password, oauth2?.clientSecret, oauth2?.refreshToken].filter((secret) => typeof secret === "string" && secret !== "");
  return plain.flatMap((secret = "") => [secret ?? "", Buffer.from(secret ?? "").toString("base64")]);
}

type Taken = {
  readonly has: (key: string, address: string) => boolean;
  readonly add: (key: string, addresses: readonly string[]) => void;
  readonly forget: (key: string) => void;
};

const MOST_TAKEN = 1_000;

/** Who has had a mail already that others of its recipients still wait for: in this life they do not get it again. */
function createTaken(): Taken {
  const taken = new Map<string, ReadonlySet<string>>();
  return {
    has: (key, address) => taken.get(key)?.has(address) ?? false,
    add: (key, addresses) => {
      taken.set(key, new Set([...(taken.get(key) ?? []), ...addresses]));
      for (const oldest of taken.keys()) if (taken.size > MOST_TAKEN) taken.delete(oldest);
    },
    forget: (key) => void taken.delete(key),
  };
}
