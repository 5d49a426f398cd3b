/** Prints the memory of the whole daemon while a mail of 100 MB goes through it, from a real Dovecot over TLS into its parts. */
import { readFile } from "node:fs/promises";
import { fixtures, startStage } from "../e2e/stage.ts";

const MEGABYTES = 100;
const LINE = `${Buffer.alloc(57, "invoice").toString("base64")}\r\n`;

process.env.NODE_OPTIONS = "--max-semi-space-size=4";
const stage = await startStage({ more: ["maxBytes: 300MB"] });
try {
  const daemon = stage.start("run");
  const megabytes = async () => {
    const status = await readFile(`/proc/${daemon.child.pid}/status`, "utf8");
    return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1_000);
  };
  const say = async (when: string) => console.log(`${when.padEnd(28)} ${await megabytes()} MB at most so far`);
  const nth = (event: string, n: number) => {
    let seen = 0;
    return daemon.logged((line) => line.event === event && ++seen === n);
  };
  const [mail] = await fixtures();
  await stage.dovecot.append("INBOX", mail?.raw ?? "");
  await nth("settle.done", 1);
  await say("after a small mail");
  const head = "Subject: big\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/pdf; name=big.pdf\r\n";
  const body = LINE.repeat(Math.round((MEGABYTES * 1_000_000) / LINE.length));
  await stage.dovecot.append("INBOX", `${head}Content-Transfer-Encoding: base64\r\n\r\n${body}--b--\r\n`);
  await nth("message.received", 2);
  await say(`${MEGABYTES} MB received`);
  await nth("split.done", 2);
  await say("split");
  // The sandbox takes 64 MB and refuses it; uploading 100 MB is measured by the benchmark `extract`.
  await nth("settle.done", 2);
  await say("settled");
  await daemon.kill();
} finally {
  await stage.stop();
}
