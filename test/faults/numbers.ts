/** Faults of numbers and folders: UIDVALIDITY, UIDNEXT, UIDs and names that are not what they were. */
import { randomBytes } from "node:crypto";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { atCommand, BODY, rewriting } from "./meddlers.ts";
import type { Scripted } from "./play.ts";
import type { Stage } from "./stage.ts";

/** Every line that matches, on every connection. */
function everywhere(name: string, pattern: RegExp, change: (line: string) => string | null, more: Partial<Scripted> = {}): Scripted {
  return {
    name,
    tells: [],
    meddler: (strike) =>
      rewriting((line) => {
        if (!pattern.test(line)) return line;
        strike();
        return change(line);
      }),
    ...more,
  };
}

/** All is read; then something happens, and two more mails come. */
function afterSweep(deed: (stage: Stage) => Promise<unknown>): (stage: Stage) => Promise<void> {
  return async (stage) => {
    await stage.until("it is swept", stage.isWell);
    stage.mark();
    await deed(stage);
    await stage.deliver(2);
  };
}

/** The folder is empty again and counts from 1, under the UIDVALIDITY it had. */
async function startUidsAgain(stage: Stage): Promise<void> {
  await stage.proxy.close(true);
  stage.proxy.cut();
  await stage.until("it says so", () => stage.trouble() === "imap.connect");
  const path = join(stage.dovecot.directory, "home", "Maildir", `.${stage.folder}`);
  const list = join(path, "dovecot-uidlist");
  const validity = / V(\d+)/.exec(await readFile(list, "utf8"))?.[1] ?? "1";
  for (const shelf of ["new", "cur"]) for (const name of await readdir(join(path, shelf))) await rm(join(path, shelf, name));
  for (const name of await readdir(path)) if (/^dovecot\.(index|list)/.test(name)) await rm(join(path, name));
  await writeFile(list, `3 V${validity} N1 G${randomBytes(16).toString("hex")}\n`);
  await stage.proxy.close(false);
}

export const NUMBERS: readonly Scripted[] = [
  everywhere("EXISTS with two spaces", /^\* \d+ EXISTS/, (line) => line.replace(" ", "  "), { sweepEveryMs: 500 }),
  everywhere("UIDVALIDITY is 0", /UIDVALIDITY/, (line) => line.replace(/UIDVALIDITY \d+/, "UIDVALIDITY 0")),
  everywhere("no UIDVALIDITY", /UIDVALIDITY/, () => null),
  everywhere("no UIDNEXT", /UIDNEXT/, () => null),
  everywhere("no sizes", /RFC822\.SIZE/, (line) => line.replace(/ RFC822\.SIZE \d+/, "")),
  everywhere("sizes that are wrong", /RFC822\.SIZE/, (line) => line.replace(/RFC822\.SIZE \d+/, "RFC822.SIZE 17")),
  {
    name: "UIDVALIDITY changed",
    tells: ["imap.lost", "imap.connect?", "mailbox.renumbered"],
    renumbers: true,
    script: afterSweep((stage) => stage.dovecot.renumber(stage.folder)),
  },
  {
    name: "UIDs reused under the same UIDVALIDITY",
    tells: ["imap.lost", "imap.connect", "mailbox.renumbered"],
    script: afterSweep(startUidsAgain),
  },
  {
    name: "expunged between listing and fetch",
    tells: [],
    meddler: (strike, stage) => {
      let gone = false;
      return atCommand(BODY, async (_, line) => {
        if (gone) return line;
        gone = true;
        strike();
        stage().forget(stage().sent()[1] ?? "");
        await stage().asAnother(async (client) => {
          await client.mailboxOpen(stage().folder);
          await client.messageDelete("2", { uid: true });
        });
        return line;
      });
    },
  },
  {
    name: "the server restarts",
    tells: ["imap.lost", "imap.connect?"],
    script: afterSweep((stage) => stage.dovecot.restart()),
  },
  {
    name: "the folder is deleted and made again",
    tells: ["imap.lost?", "imap.folder", "mailbox.renumbered"],
    script: afterSweep(async (stage) => {
      await stage.asAnother((client) => client.mailboxDelete(stage.folder));
      await stage.until("it says so", () => stage.trouble() === "imap.folder");
      stage.mark();
      await stage.asAnother((client) => client.mailboxCreate(stage.folder));
    }),
  },
  {
    name: "the folder is renamed, and named back",
    tells: ["imap.lost?", "imap.folder"],
    script: afterSweep(async (stage) => {
      await stage.asAnother((client) => client.mailboxRename(stage.folder, `${stage.folder}-old`));
      await stage.until("it says so", () => stage.trouble() === "imap.folder");
      stage.mark();
      await stage.asAnother((client) => client.mailboxRename(`${stage.folder}-old`, stage.folder));
    }),
  },
];
