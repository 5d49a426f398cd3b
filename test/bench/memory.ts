/** Prints the memory of the whole daemon, and fails above the bound, while a mail of 100 MB goes through it: from Dovecot over TLS to the service and the sink. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startDovecot } from "../servers/dovecot.ts";
import { publish, startDaemon } from "./published.ts";
import { configOf, startNullService } from "./service.ts";

const MEGABYTES = 100;
/** Resident memory of the whole process at its peak, in bytes. */
const BOUND = 150e6;
const LINE = `${Buffer.alloc(57, "invoice").toString("base64")}\r\n`;
const CASES = [
  ["cloudsquid", "encoding: multipart"],
  ["cloudsquid", "encoding: rfc822"],
  ["cloudsquid", "encoding: uri"],
  ["extend", "extractor"],
] as const;

const head = "Subject: invoice\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nPlease find our invoice attached.\r\n";
const attachment = "--b\r\nContent-Type: application/pdf; name=invoice.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n";
const small = `${head}${attachment}${LINE}--b--\r\n`;
const large = `${head}${attachment}${LINE.repeat(Math.round((MEGABYTES * 1e6) / LINE.length))}--b--\r\n`;
const inMegabytes = (bytes: number) => `${String(Math.round(bytes / 1e6)).padStart(4)} MB`;

const home = await mkdtemp(join(tmpdir(), "billhook-bench-"));
const dovecot = await startDovecot();
try {
  const entry = publish(home);
  for (const [index, [kind, how]] of CASES.entries()) {
    const directory = await mkdtemp(join(home, "case-"));
    const service = await startNullService(true);
    const more = [...(kind === "cloudsquid" ? [how] : []), "maxBytes: 300MB", "poll: { first: 100ms, longest: 1s }"];
    await writeFile(join(directory, "ca.pem"), dovecot.ca);
    const folder = `Case-${index}`;
    await dovecot.createFolder(folder);
    await writeFile(join(directory, "config.yaml"), configOf(dovecot, folder, { kind, url: service.url, more }));
    const daemon = startDaemon(entry, join(directory, "config.yaml"));
    try {
      const figures: string[] = [];
      const say = (when: string) => figures.push(`${when}${inMegabytes(daemon.rss().most)}`);
      await daemon.logged("daemon.started", 1);
      await dovecot.append(folder, small);
      await daemon.logged("settle.done", 1);
      say("a small mail");
      const began = performance.now();
      await dovecot.append(folder, large);
      await daemon.logged("message.received", 2);
      say("received");
      await daemon.logged("split.done", 2);
      say("split");
      await daemon.logged("settle.done", 2);
      say("extracted and delivered");
      const seconds = ((performance.now() - began) / 1_000).toFixed(1);
      const sent = Math.round(service.seen.bytes / 1e6);
      const { most } = daemon.rss();
      if (most > BOUND) process.exitCode = 1;
      const verdict = `${most > BOUND ? "ABOVE" : "below"} the bound of${inMegabytes(BOUND)}`;
      console.log(`${kind}, ${how}: ${MEGABYTES} MB in ${seconds} s, ${sent} MB sent; RSS at most after ${figures.join(", ")}; ${verdict}`);
    } finally {
      await daemon.kill();
      service.stop();
      await rm(directory, { recursive: true, force: true });
    }
  }
} finally {
  await dovecot.stop();
  await rm(home, { recursive: true, force: true });
}
