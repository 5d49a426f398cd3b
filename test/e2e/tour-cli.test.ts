/** The tour with the command line alone: a service outage, poison mails, a held one, a dead receiver are found and mended. */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { requireDovecot } from "../servers/dovecot.ts";
import { startTour, type Tour, type TourMail } from "./tour.ts";

const missing = requireDovecot();

type Trouble = { readonly kind: string; readonly fault: { readonly code: string; readonly message: string } };
type Row = {
  readonly id: string;
  readonly standing: string;
  readonly facts: { readonly subject: string } | null;
  readonly troubles: readonly Trouble[];
};
type Status = {
  readonly alive: boolean;
  readonly ailments: readonly string[];
  readonly counts: Readonly<Record<"open" | "failed" | "held", number>>;
  readonly stuck: readonly { readonly id: string; readonly standing: string; readonly command: string | null }[];
  readonly unreadable: readonly { readonly command: string }[];
  readonly services: readonly { readonly name: string; readonly failed: number; readonly held: number; readonly why: string | null }[];
  readonly sinks: readonly { readonly name: string; readonly failed: number; readonly why: string | null }[];
  readonly paused: readonly unknown[];
};

describe.skipIf(missing !== null)(`the tour, by command${missing === null ? "" : ` - skipped: ${missing}`}`, () => {
  let tour: Tour;
  beforeAll(async () => {
    tour = await startTour();
  });
  afterAll(() => tour?.stop());

  const cli = async (...args: string[]) => {
    const { code, text, said } = await tour.cli(...args);
    expect([code, said], args.join(" ")).toEqual([0, ""]);
    return text;
  };
  const json = async <T>(...args: string[]): Promise<readonly T[]> =>
    (await cli(...args, "--json"))
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as T);
  const status = async () => (await json<Status>("status"))[0] as Status;
  /** As `cli` is given it: what a person types from what they see. */
  const typed = (command: string | null | undefined) => cli(...(command ?? "").split(" ").slice(1));
  const short = ({ id }: TourMail) => id.slice(0, 16);

  it("each trouble is found, understood and mended, and at the end all is well", { timeout: 120_000 }, async () => {
    const { mails, receiver, outside, settled } = tour;
    const { fine, outage, refused, unread, held, undelivered } = mails;

    // The first look tells of all of it, and of each how to go on.
    // While the server withheld a mail no sweep was complete, and the daemon's next beat says that one was since.
    const first = await vi.waitFor(
      async () => {
        const told = await status();
        expect([told.alive, told.ailments]).toEqual([true, []]);
        return told;
      },
      { timeout: 30_000, interval: 200 },
    );
    expect(new Map(first.stuck.map(({ id, command }) => [id, command]))).toEqual(
      new Map([
        ...[...outage, refused, undelivered].map((mail) => [short(mail), `billhook retry ${short(mail)}`] as const),
        [short(held), `billhook release ${short(held)}`] as const,
      ]),
    );
    expect(first.services).toMatchObject([{ name: "extend", failed: 3, held: 1, why: expect.stringContaining("503") }]);
    expect(first.sinks).toMatchObject([
      { name: "files", failed: 0, why: null },
      { name: "erp", failed: 1, why: expect.stringMatching(/ECONNREFUSED/) },
    ]);
    const text = await cli("status");
    for (const { id, command } of first.stuck) expect(text).toMatch(new RegExp(`^(failed|held) +${id} .*\`${command}\`.*$`, "m"));
    expect(text).toMatch(/^unread +invoices UID 2 .*`billhook retry u\d+`/m);

    // The lists tell which mails they are, newest first, and why.
    const [failed, waiting, inOutage] = await Promise.all([
      json<Row>("list", "--state", "failed"),
      json<Row>("list", "--state", "held"),
      json<Row>("list", "--subject", "IN THE OUTAGE", "--from", "stadtwerke", "--since", "1h"),
    ]);
    expect(failed.map(({ id, facts, troubles }) => [id, facts?.subject, troubles.map(({ kind }) => kind)])).toEqual(
      [outage[1], outage[0], undelivered, refused].map((mail) => [mail.id, mail.subject, [mail === undelivered ? "deliver" : "extract"]]),
    );
    expect([waiting, inOutage].map((rows) => rows.map(({ id }) => id))).toEqual([[held.id], [outage[1].id, outage[0].id]]);

    // A poison mail the service refuses: looked at, by the file a person has of it, and given up.
    const shown = await cli("show", refused.id.slice(0, 12));
    expect(shown).toMatch(/^stands +failed$/m);
    expect(shown).toMatch(/^ +document 1: .*CORRUPT_FILE/m);
    expect(await cli("ignore", short(refused), "--why", "the seller sends it again")).toContain("given up");
    await settled(refused);
    expect(await cli("show", short(refused))).toMatch(/^stands +ignored$[\s\S]*the seller sends it again/m);

    // A dead receiver that is back.
    await outside.receiverIsBack();
    await cli("retry", `<${undelivered.subject.replaceAll(" ", "-")}@tour.example>`);
    await settled(undelivered);

    // The outage is over.
    await outside.serviceIsBack();
    expect((await cli("retry", "--failed")).split("\n")).toHaveLength(2);

    // One the mail server will not give: it gives it again, and it is asked for.
    const [poison] = await json<{ id: string; arrival: { fault: { message: string } } }>("list", "--state", "unread");
    expect(await cli("show", poison?.id ?? "")).toMatch(/never given/);
    outside.serverGivesAll();
    await typed(first.unreadable[0]?.command);

    // A mail over a limit.
    await typed(first.stuck.find(({ id }) => id === short(held))?.command);

    await settled(...outage, held, unread);

    const delivered = [fine, undelivered, held, unread, ...outage];
    const keys = delivered.map(({ id }) => `${id}.1.erp`);
    expect(receiver.taken.map(({ id }) => id).toSorted()).toEqual(keys.toSorted());
    expect([...(await tour.stage.written()).keys()]).toHaveLength(delivered.length);

    // What the receiver took before it died is gone with it.
    await cli("replay", short(fine), "--to", "erp");
    await tour.daemon.logged(({ event, task }) => event === "deliver.done" && task === "1.erp~2");
    expect(receiver.taken.map(({ id }) => id).toSorted()).toEqual([...keys, `${fine.id}.1.erp~2`].toSorted());

    const [last, ...lists] = await Promise.all([
      status(),
      tour.cli("list", "--state", "failed"),
      tour.cli("list", "--state", "unread"),
      json<Row>("list"),
    ]);
    expect(last).toMatchObject({ alive: true, stuck: [], unreadable: [], paused: [], counts: { open: 0, failed: 0, held: 0 } });
    const [stillFailed, stillUnread, all] = lists;
    const nothing = { code: 0, text: "", said: "there is no such mail" };
    expect([stillFailed, stillUnread]).toEqual([nothing, nothing]);
    expect(all.map(({ standing }) => standing).toSorted()).toEqual([...Array(6).fill("done"), "ignored"]);
    expect(await tour.stage.list("INBOX")).toEqual([]);
  });
});
