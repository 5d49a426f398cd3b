/** A submission server (smtp-server) that keeps what it takes, and answers, cuts or falls silent at each step as the test says. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SMTPServer } from "smtp-server";

export type Step = "greeting" | "login" | "MAIL FROM" | "RCPT TO" | "dot";

/** A reply's number; `cut`: the connection ends; `silence`: no answer; null: as it should be. */
export type Answer = number | "cut" | "silence" | null;

export type Taken = {
  readonly from: string;
  readonly to: readonly string[];
  readonly raw: string;
  readonly encrypted: boolean;
  readonly user: string | null;
};

export type SmtpServer = {
  readonly host: string;
  readonly port: number;
  /** PEM of the self-signed certificate, valid for 127.0.0.1 and localhost. */
  readonly ca: string;
  readonly user: string;
  readonly password: string;
  /** What was taken, in order, whether or not the answer got through. */
  readonly taken: readonly Taken[];
  readonly logins: () => number;
  /** Connections that are open. */
  readonly open: () => number;
  readonly answer: (step: Step, how: Answer | ((value: string) => Answer)) => void;
  /** Resolves when the step is reached the next time. */
  readonly reached: (step: Step) => Promise<void>;
  readonly stop: () => Promise<void>;
};

export type SmtpServerOptions = {
  readonly tls?: "implicit" | "starttls" | "none";
  readonly login?: boolean;
  /** Access tokens XOAUTH2 takes. */
  readonly tokens?: readonly string[];
};

const HOST = "127.0.0.1";
/** Base64 of what a server says of a token it does not know. */
const NO_TOKEN = { schemes: "Bearer", status: "401" };

let certificate: { readonly key: string; readonly cert: string } | null = null;

export async function startSmtp(options: SmtpServerOptions = {}): Promise<SmtpServer> {
  const { tls = "implicit", login = true, tokens = [] } = options;
  const [user, password] = ["invoices@example.com", "smtp-Pass-1"];
  certificate ??= makeCertificate();
  const taken: Taken[] = [];
  const answers = new Map<Step, Answer | ((value: string) => Answer)>();
  const waiting = new Map<Step, (() => void)[]>();
  let logins = 0;

  const at = (step: Step, value: string, go: () => void, refuse: (error: Error) => void) => {
    for (const resolve of waiting.get(step) ?? []) resolve();
    waiting.delete(step);
    const how = answers.get(step) ?? null;
    const answer = typeof how === "function" ? how(value) : how;
    if (answer === null) return go();
    if (answer === "cut") cut();
    if (typeof answer === "number") refuse(Object.assign(new Error(`5.7.1 No <${user}> ${password}`), { responseCode: answer }));
  };

  const server = new SMTPServer({
    ...certificate,
    secure: tls === "implicit",
    authMethods: tokens.length > 0 ? ["XOAUTH2"] : ["PLAIN", "LOGIN"],
    authOptional: !login,
    disabledCommands: [...(tls === "starttls" ? [] : ["STARTTLS"]), ...(login ? [] : ["AUTH"])],
    allowInsecureAuth: tls === "none",
    disableReverseLookup: true,
    logger: false,
    closeTimeout: 100,
    onConnect: (_session, callback) => at("greeting", "", () => callback(), callback),
    onAuth: (auth, _session, callback) => {
      logins++;
      const known = tokens.length > 0 ? tokens.includes(auth.accessToken ?? "") : auth.username === user && auth.password === password;
      at(
        "login",
        auth.username ?? "",
        () => (known ? callback(null, { user }) : callback(null, tokens.length > 0 ? { data: NO_TOKEN } : {})),
        callback,
      );
    },
    onMailFrom: (address, _session, callback) => at("MAIL FROM", address.address, () => callback(), callback),
    onRcptTo: (address, _session, callback) => at("RCPT TO", address.address, () => callback(), callback),
    onData: (stream, session, callback) => {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const { mailFrom, rcptTo } = session.envelope;
        const mail = {
          from: mailFrom === false ? "" : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          raw: Buffer.concat(chunks).toString("latin1"),
          encrypted: session.secure,
          user: typeof session.user === "string" ? session.user : null,
        };
        const how = answers.get("dot") ?? null;
        if (typeof how !== "number") taken.push(mail);
        at("dot", "", () => callback(null, `2.0.0 Ok: queued for ${mail.to.join(" ")}`), callback);
      });
    },
  });
  server.on("error", () => {});
  // Not the sockets as they came: Node 24 crashes when one is destroyed under its TLS.
  const { connections } = server as unknown as { readonly connections: ReadonlySet<{ readonly _socket: Socket }> };
  const cut = () => {
    for (const { _socket } of [...connections]) _socket.destroy();
  };
  server.listen(0, HOST);
  await once(server.server, "listening");

  return {
    host: HOST,
    port: (server.server.address() as AddressInfo).port,
    ca: certificate.cert,
    user,
    password,
    taken,
    logins: () => logins,
    open: () => connections.size,
    answer: (step, how) => void answers.set(step, how),
    reached: (step) => new Promise((resolve) => void waiting.set(step, [...(waiting.get(step) ?? []), resolve])),
    stop: async () => {
      cut();
      await new Promise<void>((resolve) => server.close(resolve));
    },
  };
}

function makeCertificate(): { readonly key: string; readonly cert: string } {
  const directory = mkdtempSync(join(tmpdir(), "billhook-smtp-"));
  try {
    const [key, cert] = [join(directory, "key.pem"), join(directory, "cert.pem")];
    const fresh = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key];
    const names = ["-subj", "/CN=billhook test", "-addext", `subjectAltName=IP:${HOST},DNS:localhost`];
    execFileSync("openssl", ["req", "-x509", "-days", "2", ...fresh, ...names, "-out", cert], { stdio: "pipe" });
    return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
