/** The desk over a real ledger and spool: what it shows of a mail from arrival to receipt, and that its decisions end as they say. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import { permanent } from "../../src/base/errors.ts";
import { createDesk } from "../../src/desk/clerk.ts";
import type { Progress } from "../../src/extractor/extractor.ts";
import { createMapping } from "../../src/mapping/mapping.ts";
import type { RouteSinkRecord } from "../../src/store/record.ts";
import { LEDGER_FILE } from "../../src/store/sql.ts";
import { testClock } from "../extractor/documents.ts";
import { arrive, drain, extractorOf, sinkOf, sourceOf, worksIn } from "../pipeline/works.ts";
import { temporaryDirectory } from "../store/disk.ts";

const whole: RouteSinkRecord = { name: "erp", per: "message", failures: false };
const single: RouteSinkRecord = { name: "files", per: "document", failures: false };

/** A service that is paid for each call and reads another number every time; `refuses` makes it refuse. */
async function stage(sinks: readonly RouteSinkRecord[] = [single]) {
  const clock = testClock();
  const does = { refuse: false };
  const { extractor, asked } = extractorOf(
    (_, call): Progress =>
      does.refuse
        ? { is: "refused", memo: null, fault: permanent("service.unreadable", "it is blurred", "ask for a better scan") }
        : {
            is: "answered",
            memo: { runId: `run ${call}` },
            answer: {
              runId: `run ${call}`,
              data: { invoice_number: `R-${call}`, total_amount: "119.00", currency: "EUR" },
              credits: 2,
              reasoning: null,
              review: null,
              raw: {},
            },
          },
  );
  const made = sinks.map(({ name }) => sinkOf(name));
  const invoices = sourceOf("invoices");
  const roles = { extractor, sinks: made.map(({ sink }) => sink), source: invoices.source, clock };
  const directory = await temporaryDirectory();
  const { works: plain } = await worksIn(directory, roles);
  const works = { ...plain, routing: { rules: [], fallback: { service: "service", sinks } } };
  onTestFinished(() => works.ledger.close());
  const { ledger, spool } = works;
  const mappings = new Map([["service", createMapping(null)]]);
  const desk = createDesk({ ledger, spool, mappings, sinks: sinks.map(({ name }) => name), service: "service", clock });
  const damage = (how: string) => {
    const database = new Database(join(directory, LEDGER_FILE));
    database.exec(how);
    database.close();
  };
  return { works, clock, desk, damage, does, asked, made, given: () => made.flatMap((one) => one.given), told: invoices.told };
}

async function text(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks).toString("latin1");
}

describe("the desk", () => {
  test("shows the whole life of a mail, from arrival to receipt", async () => {
    const { works, clock, desk } = await stage();
    const id = await arrive(works, "02-pdf-and-xml-twin");
    await drain(works, clock);
    const life = await desk.show(id);
    expect(life).toMatchObject({ id, standing: "done", rawKept: true, mailboxes: ["invoices"], troubles: [] });
    expect(life.facts?.subject).not.toBe("");
    expect(life.parts.length).toBeGreaterThan(1);
    expect(life.parts.every(({ kept }) => kept)).toBe(true);
    expect(life.documents).toMatchObject([
      { runs: [{ runId: "run 1", credits: 2 }], invoices: [{ invoice: { number: "R-1", gross: "119.00" } }] },
    ]);
    expect(life.deliveries).toMatchObject([{ key: `${id}.1.files`, sink: "files", receipt: { path: `/out/${id}.1.files` } }]);
    expect(life.events.map(({ what }) => what)).toEqual(["received", "split.done", "extract.done", "deliver.done", "settle.done"]);
    expect(await desk.list({ limit: 10 })).toMatchObject([{ id, standing: "done", invoices: [{ invoice: { number: "R-1" } }] }]);
    expect(await text(await desk.raw(id))).toContain("Subject:");
    const pdf = life.parts.find(({ sniffedType }) => sniffedType === "application/pdf");
    expect(await text((await desk.part(id, pdf?.id ?? "")).bytes)).toMatch(/^%PDF/);
  });

  test("finds what a person names, and says what else it may be", async () => {
    const { works, desk } = await stage();
    const id = await arrive(works, "01-single-pdf");
    expect(await desk.find(` ${id.slice(0, 8)} `)).toBe(id);
    await expect(desk.find("ffff")).rejects.toMatchObject({ code: "desk.unknown" });
    await expect(desk.find("u1")).rejects.toMatchObject({ code: "desk.unknown" });
    await expect(desk.show("0".repeat(64))).rejects.toMatchObject({ code: "desk.unknown" });
    await expect(desk.part(id, "../../ledger.sqlite")).rejects.toMatchObject({ code: "desk.unknown" });
  });

  test("bytes that are not there any more are said to be missing, and nothing else is lost", async () => {
    const { works, clock, desk } = await stage();
    const id = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    await rm(works.spool.path("raw", id));
    expect((await desk.show(id)).rawKept).toBe(false);
    await expect(desk.raw(id)).rejects.toMatchObject({ code: "spool.missing" });
    await expect(desk.reextract(id, null)).rejects.toMatchObject({ code: "spool.missing" });
  });

  test("a result whose row is damaged is told of where it stands, and hides no other mail", async () => {
    const { works, clock, desk, damage } = await stage();
    const id = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    damage("UPDATE result SET data = '{'");
    const other = await arrive(works, "02-pdf-and-xml-twin", 2);
    await drain(works, clock);
    expect(await desk.list({ limit: 10 })).toMatchObject([
      { id: other, invoices: [{ invoice: { number: "R-2" } }] },
      { id, invoices: [] },
    ]);
    expect((await desk.show(id)).documents).toMatchObject([{ result: null, fault: { code: "ledger.record" } }]);
  });

  test("what was removed is told as removed, and reading it again is not offered at a price", async () => {
    const { works, clock, desk } = await stage();
    const id = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    const later = new Date(clock.now().getTime() + 1_000);
    await works.ledger.prune("results", [id], later, later);
    expect((await desk.show(id)).documents).toMatchObject([{ result: null, fault: { code: "kept.gone" } }]);
    await works.ledger.prune("raw", [id], later, later);
    await expect(desk.price(id, null)).rejects.toMatchObject({ code: "kept.gone" });
    expect((await desk.show(id)).gone).toMatchObject({ raw: later.toISOString(), results: later.toISOString(), parts: null });
  });

  test("an answer of a service that left the configuration is not said to hold no invoice", async () => {
    const { works, clock } = await stage();
    const id = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    const { ledger, spool } = works;
    const mappings = new Map([["another", createMapping(null)]]);
    const desk = createDesk({ ledger, spool, mappings, sinks: [], service: "another", clock });
    const [document] = (await desk.show(id)).documents;
    expect(document).toMatchObject({ invoices: [], fault: { code: "desk.service" }, result: { data: { invoice_number: "R-1" } } });
  });

  test("mails are found by what stands in a name or an address of their sender, and by nothing of how that is kept", async () => {
    const { works, clock, desk } = await stage();
    const id = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    const [sender] = (await desk.show(id)).facts?.from ?? [];
    for (const from of [sender?.address, sender?.address.toUpperCase().slice(2, -2), sender?.name.slice(1)])
      expect(await desk.list({ limit: 10, from: from ?? "" }), from).toMatchObject([{ id }]);
    for (const from of ["address", '"', "[{", "},{"]) expect(await desk.list({ limit: 10, from }), from).toEqual([]);
  });

  test("upper and lower case are the same to who looks for a mail, beyond ASCII too", async () => {
    const { works, clock, desk } = await stage();
    const id = await arrive(works, "12-eight-bit-headers");
    await drain(works, clock);
    const subject = (await desk.show(id)).facts?.subject ?? "";
    expect(subject).toMatch(/[äöü]/);
    for (const wanted of [subject.toUpperCase(), subject.normalize("NFD")])
      expect(await desk.list({ limit: 10, subject: wanted }), wanted).toMatchObject([{ id }]);
  });

  test("mails are counted as they stand in the lists", async () => {
    const { works, clock, desk, does } = await stage();
    await arrive(works, "01-single-pdf");
    await drain(works, clock);
    does.refuse = true;
    await arrive(works, "02-pdf-and-xml-twin", 2);
    const ignored = await arrive(works, "04-xml-only", 3);
    await drain(works, clock);
    await desk.ignore(ignored, "a private letter");
    await drain(works, clock);
    await arrive(works, "05-html-only", 4);
    const listed = new Map<string, number>();
    for (const { standing } of await desk.list({ limit: 10 })) listed.set(standing, (listed.get(standing) ?? 0) + 1);
    expect(listed).toEqual(
      new Map([
        ["working", 1],
        ["ignored", 1],
        ["failed", 1],
        ["done", 1],
      ]),
    );
    const tally = await works.ledger.tally(new Date(0));
    expect(
      Object.entries(tally)
        .filter(([, count]) => count > 0)
        .toSorted(),
    ).toEqual([...listed].toSorted());
    expect(Object.values(await works.ledger.tally(new Date(clock.now().getTime() + 1_000)))).toEqual([0, 0, 0, 0, 0, 0, 0]);
  });

  test("a document that failed is a trouble with advice; tried again it is done, and the mailbox is told anew", async () => {
    const { works, clock, desk, does, told } = await stage();
    const id = await arrive(works, "01-single-pdf");
    does.refuse = true;
    await drain(works, clock);
    const [row] = await desk.list({ limit: 1, state: "failed" });
    expect(row?.troubles).toMatchObject([
      { of: `${id}.1`, kind: "extract", standing: "failed", fault: { advice: "ask for a better scan" } },
    ]);
    does.refuse = false;
    expect(await desk.retry(id)).toEqual([
      "reading of document 1 is tried again: where the service had refused it, that buys one more run",
    ]);
    await drain(works, clock);
    expect((await desk.show(id)).standing).toBe("done");
    expect(told.map(({ verdict }) => verdict)).toEqual(["failed", "done"]);
    expect(await desk.retry(id)).toEqual([]);
  });

  test("what is given up is not tried again, the mailbox is told that it is done with, and it can be taken back", async () => {
    const { works, clock, desk, does, told, given } = await stage();
    const id = await arrive(works, "01-single-pdf");
    does.refuse = true;
    await drain(works, clock);
    expect(await desk.ignore(id, "a private letter")).toEqual(["reading of document 1 is given up"]);
    await drain(works, clock);
    expect(told.map(({ verdict }) => verdict)).toEqual(["failed", "done"]);
    expect(await desk.list({ limit: 1, state: "failed" })).toEqual([]);
    expect(await desk.list({ limit: 1, state: "ignored" })).toMatchObject([{ id, troubles: [] }]);
    does.refuse = false;
    await desk.retry(id);
    await drain(works, clock);
    expect(given()).toHaveLength(1);
    expect((await desk.show(id)).standing).toBe("done");
  });

  test("a mail that is read again is bought again, and only what is new is delivered, under keys of its own", async () => {
    const { works, clock, desk, asked, given } = await stage([single, whole]);
    const id = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    expect(await desk.price(id, null)).toEqual({ service: "service", runs: 1 });
    await expect(desk.price(id, "nobody")).rejects.toMatchObject({ code: "desk.service" });
    await desk.reextract(id, "service");
    await expect(desk.reextract(id, "service")).rejects.toMatchObject({ code: "desk.busy" });
    await drain(works, clock);
    expect(asked.map(({ key }) => key)).toEqual([`${id}.1`, `${id}.2`]);
    expect(await desk.price(id, null)).toEqual({ service: "service", runs: 1 });
    const told = given().map(({ key, delivery }) => [
      key,
      delivery.body.per === "message" ? delivery.body.documents.map(({ document }) => document.position) : delivery.body.document.position,
    ]);
    expect(told.toSorted()).toEqual([
      [`${id}.1.files`, 1],
      [`${id}.2.files`, 2],
      [`${id}.erp`, [1]],
      [`${id}.erp~2`, [2]],
    ]);
    const life = await desk.show(id);
    expect(life.documents.flatMap(({ invoices }) => invoices.map(({ invoice }) => invoice.number))).toEqual(["R-1", "R-2"]);
    expect(life.standing).toBe("done");
    expect(await works.ledger.spending(new Date(0))).toMatchObject([{ runs: 2, credits: 4 }]);
    // It costs no more for having been read twice.
    expect(await desk.price(id, null)).toEqual({ service: "service", runs: 1 });
  });

  test("what has failed can be read again by another way, and is then done", async () => {
    const { works, clock, desk, does, given } = await stage();
    const id = await arrive(works, "01-single-pdf");
    does.refuse = true;
    await drain(works, clock);
    does.refuse = false;
    await desk.reextract(id, null);
    await drain(works, clock);
    expect(given().map(({ key }) => key)).toEqual([`${id}.2.files`]);
    expect((await desk.show(id)).standing).toBe("done");
  });

  test("what was delivered is delivered again only under a new key, to the sink that was named", async () => {
    const { works, clock, desk, given } = await stage([single, whole]);
    const id = await arrive(works, "01-single-pdf");
    await drain(works, clock);
    await expect(desk.replay(id, "nowhere")).rejects.toMatchObject({ code: "desk.sink" });
    expect(await desk.replay(id, "erp")).toEqual([`will be delivered to erp under the key ${id}.erp~2`]);
    await drain(works, clock);
    expect(
      given()
        .map(({ key }) => key)
        .toSorted(),
    ).toEqual([`${id}.1.files`, `${id}.erp`, `${id}.erp~2`]);
  });
});
