/** What a person sees of the mails: lists, a whole life, and by which names a mail is known. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { list, type Options } from "../../src/cli/list.ts";
import { show } from "../../src/cli/show.ts";
import { mailOf, NOTHING, openCounter, run } from "./desk.ts";

/** A header that would clear the screen, set the title of the window and write backwards. */
const HOSTILE = "=?utf-8?Q?Rechnung=1B[2J=1B]0;owned=07=E2=80=AE_gpj.exe?=";
const STEERING = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

describe("list", () => {
  it("is a line a mail, newest first, with what it waits for and the command that mends it", async () => {
    const { config, take } = await openCounter();
    const good = await take(mailOf("Rechnung RE-2026-0815"));
    const bad = await take(mailOf("Please refuse me", "Anna <anna@other.example>"));
    const all = await run((terminal) => list({ ...NOTHING, config }, terminal));
    expect(all.code).toBe(0);
    expect(all.lines).toEqual([
      expect.stringMatching(
        new RegExp(
          `^${bad.slice(0, 16)}  2026-05-04 10:02:00Z  failed    Anna <anna@other.example> +Please refuse me +document 1: service: the document cannot be read - look at it - \`billhook retry ${bad.slice(0, 16)}\`$`,
        ),
      ),
      expect.stringMatching(
        new RegExp(`^${good.slice(0, 16)}  2026-05-04 10:01:00Z  done {6}Seilerei Kronau <rechnung@s…  Rechnung RE-2026-0815$`),
      ),
    ]);
  });

  it("narrows by all it is asked for", async () => {
    const { config, take, refuse } = await openCounter();
    const first = await take(mailOf("Rechnung RE-2026-0815"));
    const second = await take(mailOf("Please refuse me", "Anna <anna@other.example>"));
    const unread = await refuse();
    const ids = async (wanted: Partial<Options>) => {
      const { code, lines } = await run((terminal) => list({ ...NOTHING, config, json: true, ...wanted }, terminal));
      expect(code).toBe(0);
      return lines.map((line) => (JSON.parse(line) as { id: string }).id);
    };
    expect(await ids({})).toEqual([second, first]);
    expect(await ids({ limit: "1" })).toEqual([second]);
    expect(await ids({ state: "failed" })).toEqual([second]);
    expect(await ids({ state: "done" })).toEqual([first]);
    expect(await ids({ from: "KRONAU" })).toEqual([first]);
    expect(await ids({ subject: "refuse" })).toEqual([second]);
    expect(await ids({ subject: "refuse", from: "kronau" })).toEqual([]);
    expect(await ids({ mailbox: "invoices" })).toEqual([second, first]);
    expect(await ids({ mailbox: "other" })).toEqual([]);
    expect(await ids({ since: "2026-05-04T10:01:30Z" })).toEqual([second]);
    expect(await ids({ since: "2026-05-04" })).toEqual([second, first]);
    expect(await ids({ since: "1h" })).toEqual([]);
    expect(await ids({ state: "unread" })).toEqual([unread]);
    expect(await ids({ state: "unread", mailbox: "other" })).toEqual([]);
    const said = await run((terminal) => list({ ...NOTHING, config, state: "unread" }, terminal));
    expect(said.lines).toEqual([
      expect.stringMatching(new RegExp(`^${unread} +2026-05-04 10:03:00Z  unread    invoices UID 3 .*\`billhook retry ${unread}\``)),
    ]);
  });

  it("says so when there is nothing, and when there may be more", async () => {
    const { config, take } = await openCounter();
    const said = async (wanted: Partial<Options>) => (await run((terminal) => list({ ...NOTHING, config, ...wanted }, terminal))).said;
    expect(await said({})).toEqual(["there is no such mail"]);
    expect(await said({ mailbox: "invoice" })).toEqual(["there is no such mail, and no mailbox invoice; there is invoices"]);
    await take(mailOf("Rechnung RE-2026-0815"));
    expect(await said({})).toEqual([]);
    expect(await said({ limit: "1" })).toEqual(["these are the newest 1; --limit shows more"]);
  });

  it.each([
    [{ state: "lost" }, /there is no state lost: it is one of held, .*unread/],
    [{ since: "yesterday" }, /expected --since as a duration .* found yesterday/],
    [{ since: "2026-13-01" }, /expected --since/],
    [{ limit: "0" }, /expected --limit/],
    [{ state: "unread", from: "x" }, /has no sender/],
  ])("%j is wrong use", async (wanted, said) => {
    const { config } = await openCounter();
    await expect(run((terminal) => list({ ...NOTHING, config, ...wanted }, terminal))).rejects.toMatchObject({
      code: "config.usage",
      message: expect.stringMatching(said),
    });
  });
});

describe("show", () => {
  it("tells the whole life of a mail", async () => {
    const { config, take } = await openCounter();
    const raw = mailOf("Rechnung RE-2026-0815");
    const id = await take(raw);
    const { code, text } = await run((terminal) => show({ config, message: id.slice(0, 8), json: false }, terminal));
    expect(code).toBe(0);
    for (const line of [
      `message     ${id}`,
      "from        Seilerei Kronau <rechnung@seilerei.example>",
      "date        2026-03-02 10:00:00Z",
      "stands      done",
      "parts       ├─ text  body  text/plain  11 bytes  (in document 1)",
      "            └─ 2  attachment  application/pdf  19 bytes  RE-2026-0815.pdf  (in document 1)",
      "document 1  the whole mail, read by service, done",
      "            run run, 2 credits",
      "              BT-1   number             RE-2026-0815",
      "              BT-112 total with VAT     119.00",
      `deliveries  of document 1 to files: done, key ${id}.1.files`,
      `              receipt: path /out/${id}.1.files`,
      "            settle   invoices UID 1, done",
      `events      2026-05-04 10:01:00Z  received          invoices  UID 1, ${raw.length} bytes`,
    ])
      expect(text.split("\n")).toContain(line);
    const { text: json } = await run((terminal) => show({ config, message: id, json: true }, terminal));
    expect(JSON.parse(json)).toMatchObject({
      id,
      standing: "done",
      rawKept: true,
      deliveries: [{ sink: "files", receipt: { path: `/out/${id}.1.files` } }],
    });
  });

  it("offers no delivery of results that are gone", async () => {
    const { config, take, works } = await openCounter();
    const id = await take(mailOf("Rechnung RE-2026-0815"));
    const todo = async () => (await run((terminal) => show({ config, message: id, json: false }, terminal))).text.match(/^to do.*$/m)?.[0];
    expect(await todo()).toContain("billhook replay");
    const later = new Date("2027-01-01");
    await works.ledger.prune("results", [id], later, later);
    expect(await todo()).toBe("to do       nothing");
  });

  it("says what needs a person, and of what was never given all there is", async () => {
    const { config, take, refuse } = await openCounter();
    const id = (await take(mailOf("Please refuse me"))).slice(0, 16);
    const failed = await run((terminal) => show({ config, message: id, json: false }, terminal));
    expect(failed.text).toContain("document 1: service: the document cannot be read - look at it [service.refused]");
    expect(failed.text).toContain(`to do       \`billhook retry ${id}\` tries again, \`billhook ignore ${id} --why …\` gives it up`);
    const name = await refuse();
    const unread = await run((terminal) => show({ config, message: name, json: false }, terminal));
    expect(unread.text).toMatch(
      new RegExp(`^unread +${name}, invoices UID 2 .*\nseen.*\nwhy .*\`billhook retry ${name}\` asks again \\[imap.unreadable\\]\nto do`),
    );
    const { text: json } = await run((terminal) => show({ config, message: name, json: true }, terminal));
    expect(JSON.parse(json)).toMatchObject({ id: name, arrival: { origin: { uid: 2 } } });
  });

  it("finds a mail by the beginning of its id, its Message-ID, and a file of it; what may be two is refused, and lists them", async () => {
    const { config, directory, take } = await openCounter();
    const raw = mailOf("Rechnung RE-2026-0815");
    const id = await take(raw);
    const shown = async (message: string) =>
      JSON.parse((await run((terminal) => show({ config, message, json: true }, terminal))).text) as { id: string };
    const messageId = /<\S+@seilerei.example>/.exec(raw.toString().split("Message-ID")[1] ?? "")?.[0] ?? "";
    const [same, saved, other] = ["same.eml", "saved.eml", "other.eml"].map((name) => join(directory, name)) as [string, string, string];
    await writeFile(same, raw);
    // As a mail program saves it: other line ends, and so other bytes.
    await writeFile(saved, raw.toString().replaceAll("\r\n", "\n"));
    await writeFile(other, mailOf("Another one"));
    for (const name of [id, id.slice(0, 4), messageId, messageId.slice(1, -1), same, saved]) expect((await shown(name)).id, name).toBe(id);
    await expect(shown(other)).rejects.toMatchObject({ code: "desk.unknown", message: expect.stringContaining(other) });
    await expect(shown("ffffffff")).rejects.toMatchObject({ code: "desk.unknown" });
    await expect(shown(directory)).rejects.toMatchObject({ code: "desk.unknown" });
    await expect(shown("")).rejects.toMatchObject({ code: "config.usage" });

    // The same Message-ID on other bytes: a mail sent on by a list.
    const copy = await take(Buffer.concat([Buffer.from("X-Copy: 1\r\n"), raw]));
    await expect(shown(messageId)).rejects.toMatchObject({ code: "desk.ambiguous", message: expect.stringContaining(copy.slice(0, 16)) });
    expect((await shown(same)).id).toBe(id);
  });

  it("shows no character of a mail that would steer the terminal, and in JSON none either", async () => {
    const { config, take } = await openCounter();
    const id = await take(mailOf(HOSTILE, "=?utf-8?Q?a=1B[31m?= <x@y.example>", "a\x1b[2Jb.pdf"));
    for (const json of [false, true]) {
      const seen = await run((terminal) => show({ config, message: id, json }, terminal));
      const listed = await run((terminal) => list({ ...NOTHING, config, json }, terminal));
      for (const line of [...seen.lines, ...listed.lines]) expect(line).not.toMatch(STEERING);
      expect(seen.text).toContain(json ? "Rechnung\\u001b[2J" : "Rechnung\\u{1b}[2J");
    }
  });
});
