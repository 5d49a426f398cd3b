/** What a person decides about a mail by command, and what is said about it. */
import { describe, expect, it } from "vitest";
import { ignore } from "../../src/cli/ignore.ts";
import { list } from "../../src/cli/list.ts";
import { reextract } from "../../src/cli/reextract.ts";
import { release } from "../../src/cli/release.ts";
import { replay } from "../../src/cli/replay.ts";
import { retry } from "../../src/cli/retry.ts";
import { show } from "../../src/cli/show.ts";
import { standingOf } from "../../src/store/record.ts";
import { billhook } from "../servers/process.ts";
import { type Counter, mailOf, NOTHING, openCounter, run } from "./desk.ts";

const standing = async ({ works }: Counter, id: string) => standingOf(await works.ledger.tasks(id));

describe("deciding about one mail", () => {
  it("retry puts back what failed, once; and says so where nothing did", async () => {
    const counter = await openCounter();
    const { config, take } = counter;
    const [good, bad] = [await take(mailOf("Rechnung")), await take(mailOf("refuse"))];
    const again = (message: string | null, failed = false) => run((terminal) => retry({ config, message, failed }, terminal));
    expect(await again(bad.slice(0, 6))).toMatchObject({
      code: 0,
      text: expect.stringMatching(/^[0-9a-f]{16} {2}reading of document 1 is tried again: .* buys one more run$/),
    });
    expect(await standing(counter, bad)).toBe("working");
    expect(await again(bad)).toMatchObject({ code: 2, text: `${bad.slice(0, 16)}  nothing of it has failed` });
    await counter.drain();
    expect(await again(null, true)).toMatchObject({ code: 0, text: `${bad.slice(0, 16)}  extract: tried again` });
    expect(await again(null, true)).toMatchObject({ code: 0, text: "nothing had failed" });
    expect(await standing(counter, good)).toBe("done");
    for (const [message, failed] of [
      [null, false],
      [good, true],
      ["", true],
      ["", false],
    ] as const)
      await expect(again(message, failed)).rejects.toMatchObject({ code: "config.usage" });
  });

  it("retry asks the server again for what it did not give", async () => {
    const { config, works, refuse } = await openCounter();
    const name = await refuse();
    const { code, text } = await run((terminal) => retry({ config, message: name, failed: false }, terminal));
    expect([code, text]).toEqual([0, `${name}  UID 1 of invoices is fetched at the next sweep`]);
    expect(await works.ledger.wanted("invoices")).toMatchObject([{ origin: { uid: 1 } }]);
  });

  it("release says where nothing is held", async () => {
    const { config, take } = await openCounter();
    const id = await take(mailOf("Rechnung"));
    expect(await run((terminal) => release({ config, message: id }, terminal))).toMatchObject({
      code: 2,
      text: `${id.slice(0, 16)}  nothing of it is held`,
    });
  });

  it("ignore gives a mail up, with the reason on record", async () => {
    const counter = await openCounter();
    const { config, take, refuse, works } = counter;
    const id = await take(mailOf("refuse"));
    const give = (message: string, why: string) => run((terminal) => ignore({ config, message, why }, terminal));
    await expect(give(id, " ")).rejects.toMatchObject({ code: "config.usage" });
    expect(await standing(counter, id)).toBe("failed");
    expect(await give(id, "the seller sends it again")).toMatchObject({ code: 0, text: expect.stringContaining("is given up") });
    await counter.drain();
    expect(await standing(counter, id)).toBe("ignored");
    expect((await works.ledger.events(id)).map(({ note }) => note)).toContain("the seller sends it again");
    expect(await give(id, "again")).toMatchObject({ code: 2, text: expect.stringContaining("nothing of it is left to do") });
    const name = await refuse();
    expect(await give(name, "an advertisement")).toMatchObject({ code: 0, text: expect.stringContaining("is given up") });
    expect(await works.ledger.unreadable()).toEqual([]);
    const aside = await run((terminal) => list({ ...NOTHING, config, state: "ignored" }, terminal));
    expect(aside.lines).toEqual([
      expect.stringMatching(new RegExp(`^${name} .* ignored {3}invoices UID \\d+ {2}an advertisement - \`billhook retry ${name}\``)),
      expect.stringContaining(id.slice(0, 16)),
    ]);
    const retried = { code: "desk.unknown", advice: expect.stringContaining(`billhook retry ${name}`) };
    const shown = await run((terminal) => show({ config, message: name, json: false }, terminal));
    expect(shown.text).toMatch(/given up +an advertisement\nto do +nothing; /);
    await expect(run((terminal) => replay({ config, message: name, to: null }, terminal))).rejects.toMatchObject(retried);
    const fetched = await run((terminal) => retry({ config, message: name, failed: false }, terminal));
    expect(fetched.text).toContain("is fetched at the next sweep");
    expect((await works.ledger.unreadable()).map((arrival) => arrival.ignored)).toEqual([null]);
  });

  it("replay says the new key, and refuses a sink that is not there", async () => {
    const counter = await openCounter();
    const { config, take } = counter;
    const id = await take(mailOf("Rechnung"));
    const again = (to: string | null) => run((terminal) => replay({ config, message: id, to }, terminal));
    expect(await again(null)).toMatchObject({ code: 0, text: expect.stringContaining(`${id}.1.files~2`) });
    await expect(again("elsewhere")).rejects.toMatchObject({ code: "desk.sink", message: expect.stringContaining("files") });
    expect((await billhook(["replay", id, "--to", "elsewhere", "-c", config])).code).toBe(2);
    expect((await billhook(["show", "ffffffff", "-c", config])).code).toBe(2);
  });
});

describe("reextract asks before it pays", () => {
  const again = ({ config }: Counter, message: string, yes: boolean, answer: string | null, wanted: string | null = null) =>
    run((terminal) => reextract({ config, message, with: wanted, yes }, terminal), answer);

  it("says what it costs and where, and goes on only at a yes", async () => {
    const counter = await openCounter();
    const id = await counter.take(mailOf("Rechnung"));
    for (const answer of ["", "no", "yesterday"]) {
      const asked = await again(counter, id, false, answer);
      expect(asked).toMatchObject({ code: 2, text: `${id.slice(0, 16)}  nothing is read again` });
      expect(asked.questions).toEqual([
        "this buys a run at service, perhaps more (of at most 500 a day; what is over waits)? Type yes to go on: ",
      ]);
      expect(await standing(counter, id)).toBe("done");
    }
    expect(await again(counter, id, false, "yes")).toMatchObject({ code: 0, text: expect.stringContaining("read again by service") });
    await counter.drain();
    expect((await counter.works.ledger.documents(id)).map(({ position }) => position)).toEqual([1, 2]);
  });

  it("refuses where nobody can be asked, unless --yes agrees; and an unknown service", async () => {
    const counter = await openCounter();
    const id = await counter.take(mailOf("Rechnung"));
    await expect(again(counter, id, false, null)).rejects.toMatchObject({ code: "config.usage", advice: expect.stringContaining("--yes") });
    expect((await billhook(["reextract", id, "-c", counter.config])).code).toBe(2);
    expect(await standing(counter, id)).toBe("done");
    await expect(again(counter, id, true, null, "nobody")).rejects.toMatchObject({ code: "desk.service" });
    const done = await again(counter, id, true, null, "other");
    expect(done).toMatchObject({ code: 0, questions: [], text: expect.stringContaining("read again by other") });
  });
});
