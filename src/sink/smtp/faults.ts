/** What goes wrong between billhook and a submission server, told as Faults: no secrets, no addresses, no mail. */
import type { NodemailerError } from "nodemailer";
import { Fault, permanent } from "../../base/errors.ts";

/** Which server a fault is about; the secrets only so that they can be kept out of what it said. */
export type Door = { readonly name: string; readonly host: string; readonly port: number; readonly secrets: readonly string[] };

const TLS_CODE = /^(ETLS$|EPROTO$|ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_|ERR_OSSL)/;
/** RFC 6749 section 5.2: the words for what waiting does not mend. */
const TOKEN_REFUSED = /^(invalid_request|invalid_client|invalid_grant|unauthorized_client|unsupported_grant_type|invalid_scope)\b/;
const LONGEST_SERVER_TEXT = 200;

/** The fault of a mail that was not taken. `handedOver`: all of it was sent and no answer came, so the server may have it. */
export function smtpFault(thrown: unknown, door: Door, handedOver: boolean): Fault {
  if (thrown instanceof Fault) return thrown;
  const error: Partial<NodemailerError> & { readonly originalCode?: unknown } = thrown instanceof Error ? thrown : {};
  const at = `${door.host}:${door.port}`;
  const reply = error.responseCode ?? 0;
  const codes = [error.originalCode, error.code].filter((code) => typeof code === "string");
  if (codes.some((code) => TLS_CODE.test(code))) {
    return new Fault("smtp.tls", `sink ${door.name}: no safe connection to ${at}: ${transportText(codes)}`, {
      advice: "check tls (implicit, starttls, none), the port, and that the certificate is valid for this host; a private one needs its ca",
    });
  }
  if (error.code === "EAUTH") return loginFault(error, codes, door);
  // RFC 4954 section 6, RFC 3207 section 4.
  if (reply === 530)
    return shut(
      "smtp.login",
      `sink ${door.name}: ${at} wants a login, or encryption, before it takes a mail (530)`,
      "set user and password, and tls; then `billhook resume` the sink",
    );
  if (reply === 0) {
    if (handedOver)
      return new Fault("smtp.lost", `sink ${door.name}: the mail was sent to ${at} and no answer came: ${transportText(codes)}`);
    return new Fault("smtp.connect", `sink ${door.name}: the connection to ${at} failed: ${transportText(codes)}`, {
      advice: "check host, port and tls, and that the server can be reached from this machine",
    });
  }
  return refusal(error, reply, door);
}

function refusal({ command, response }: Partial<NodemailerError>, reply: number, door: Door): Fault {
  const step = /^(MAIL FROM|RCPT TO|DATA)$/.exec(command ?? "")?.[0];
  const sentence = `sink ${door.name}: ${door.host}:${door.port} refused ${stepInWords(step)}: ${serverText(response ?? "", door)}`;
  // Before MAIL FROM nothing was said of this mail: the server itself is out of order, or does not want us today.
  if (reply < 500 || step === undefined) return new Fault("smtp.deferred", sentence);
  // RFC 5321 section 4.1.1.11 and RFC 1870: 552 and 555 are about this mail, everything else about who sends all of them.
  if (step === "MAIL FROM" && reply !== 552 && reply !== 555)
    return shut("smtp.sender", sentence, "check that this login may send as the address in from; then `billhook resume` the sink");
  const advice = step === "RCPT TO" ? "the address cannot be written to" : "look at what the server says; then `billhook retry`";
  return permanent("smtp.refused", sentence, advice);
}

function stepInWords(step: string | undefined): string {
  switch (step) {
    case "MAIL FROM":
      return "the sender";
    case "RCPT TO":
      return "the recipient";
    case "DATA":
      return "the mail";
    default:
      return "to talk";
  }
}

/** For a server that does not say that it has AUTH: it is not told the password to find out. */
export function noLogin({ name, host, port }: Door): Fault {
  return shut(
    "smtp.login",
    `sink ${name}: ${host}:${port} offers no login`,
    "check tls and port, or leave out user and password; then `billhook resume` the sink",
  );
}

/** What a server answers to a login may repeat it, so only its number is told. */
function loginFault(error: Partial<NodemailerError>, codes: readonly string[], door: Door): Fault {
  const at = `${door.host}:${door.port}`;
  const reply = error.responseCode ?? 0;
  if (reply >= 500)
    return shut(
      "smtp.login",
      `sink ${door.name}: ${at} refused the login (${reply})`,
      "check user, password or oauth2, and tls; many providers want an app password; then `billhook resume` the sink",
    );
  if (reply > 0) return new Fault("smtp.deferred", `sink ${door.name}: ${at} cannot log us in now (${reply})`);
  const refused = TOKEN_REFUSED.exec(error.message ?? "")?.[1];
  if (refused !== undefined)
    return shut(
      "smtp.token",
      `sink ${door.name}: the token server refused to renew the login (${refused})`,
      "check clientId, clientSecret, refreshToken and tokenUrl, or give billhook access again; then `billhook resume` the sink",
    );
  return new Fault("smtp.token", `sink ${door.name}: no token for ${at}: ${transportText(codes)}`, {
    advice: "check tokenUrl, and that it can be reached from this machine",
  });
}

/** Whatever else went there would fail as well, and a server that is asked in vain too often locks the account. */
function shut(code: string, message: string, advice: string): Fault {
  return new Fault(code, message, { advice, halts: true });
}

const TRANSPORT: Readonly<Record<string, string>> = {
  ETIMEDOUT: "no answer in time",
  ECONNECTION: "the server hung up",
  ECONNRESET: "the server hung up",
  EPIPE: "the server hung up",
  ECONNREFUSED: "nothing listens there",
  EDNS: "the name is not known",
  ENOTFOUND: "the name is not known",
  EPROTOCOL: "what it says is not SMTP",
};

/** By the first code, the most exact one, since the words of the libraries may hold commands and answers. */
function transportText(codes: readonly string[]): string {
  const [code] = codes;
  const known = TRANSPORT[code ?? ""];
  const named = code !== undefined && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? code : "unknown";
  return known === undefined ? named : `${known} (${named})`;
}

/** A reply as one line, without what looks like an address. */
export function serverText(response: string, { secrets }: Pick<Door, "secrets">): string {
  const line = response
    .slice(0, 2_000)
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\s]+/gu, " ")
    .trim();
  const safe = secrets.filter((secret) => secret !== "").reduce((text, secret) => text.replaceAll(secret, "…"), line);
  return safe.replace(/[^\s<>"']{1,320}@[^\s<>"']{1,320}/g, "…").slice(0, LONGEST_SERVER_TEXT);
}
