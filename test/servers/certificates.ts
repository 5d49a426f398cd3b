/** An authority of our own, and what it has signed: a server on 127.0.0.1, a client; and a client signed by nobody known. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Pair = { readonly certificate: string; readonly key: string };
export type Certificates = { readonly ca: string; readonly server: Pair; readonly client: Pair; readonly stranger: Pair };

/** PEM, valid for two days. */
export function makeCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), "billhook-certificates-"));
  const path = (name: string) => join(directory, name);
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: "pipe", cwd: directory });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const own = (name: string) =>
    openssl("req", "-x509", "-days", "2", ...key, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.pem`);
  const signed = (name: string, usage: string) => {
    openssl("req", ...key, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
    writeFileSync(path(`${name}.ext`), `subjectAltName=IP:127.0.0.1,DNS:erp.example\nextendedKeyUsage=${usage}\n`);
    const by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", `${name}.ext`];
    openssl("x509", "-req", "-days", "2", "-in", `${name}.csr`, ...by, "-out", `${name}.pem`);
  };
  const pair = (name: string): Pair => ({
    certificate: readFileSync(path(`${name}.pem`), "utf8"),
    key: readFileSync(path(`${name}.key`), "utf8"),
  });
  try {
    own("ca");
    own("stranger");
    signed("server", "serverAuth");
    signed("client", "clientAuth");
    return { ca: pair("ca").certificate, server: pair("server"), client: pair("client"), stranger: pair("stranger") };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
