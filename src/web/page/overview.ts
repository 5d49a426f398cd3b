/** The overview: whether all is well, what needs a person, what came in today, and where it comes from and goes to. */
import { BUYS_AGAIN, type Row, type Unread } from "../../desk/desk.ts";
import { ailmentsOf, type Condition, lastSweep, refusals } from "../../pipeline/health.ts";
import { STANDINGS, type Standing } from "../../store/record.ts";
import type { Paused, Queue, Spending } from "../../store/store.ts";
import { button, link, mending } from "./buttons.ts";
import { type Html, html } from "./html.ts";
import type { View } from "./layout.ts";
import { mailTable, PAGE, searchForm } from "./list.ts";
import type { Means, Reader } from "./means.ts";
import { type Head, table } from "./table.ts";
import { many, midnight, STANDING, said, sender, state, subjectOf, time, troubleText } from "./words.ts";

/** Of each kind of trouble; the others are found by their state. */
const SHOWN = 20;

export async function overview(means: Means, reader: Reader, now: Date): Promise<View> {
  const { desk, ledger, look } = means;
  const since = midnight(now);
  const looked = await look();
  // What a button has just changed must not be old.
  const found: Condition = looked.asked ? { ...looked, queues: await ledger.queues(now), paused: await ledger.paused() } : looked;
  const [held, failed, retrying, waiting] = await Promise.all(
    // One more than is shown says whether there are more.
    (["held", "failed", "retrying", "waiting"] as const).map((one) => desk.list({ state: one, limit: SHOWN + 1 })),
  );
  const [unread, today, tally] = [await desk.unread(), await desk.list({ since, limit: PAGE }), await ledger.tally(since)];
  const first = (rows: readonly Row[] | undefined) => rows?.slice(0, SHOWN) ?? [];
  const beyond = (["held", "failed"] as const).filter((one) => ({ held, failed })[one]?.length === SHOWN + 1);
  const later = [...first(retrying), ...first(waiting)];
  const needing = [...first(held), ...first(failed), ...later.filter(({ troubles }) => troubles.some(isForPerson))];
  const main = html`<h1 class="hidden">Overview</h1>
${health(found)}
${needs({ paused: found.paused, rows: needing, beyond, unread }, reader, now)}
${waits(later, now)}
<section id="today" data-live><h2>Came in today</h2>${counts(tally)}
${today.length === 0 ? html`<p>Nothing yet.</p>` : mailTable(today, "Newest first", now)}
<p><a href="/mails">All mails</a></p></section>
<section><h2>Find a mail</h2>${searchForm({ from: "", subject: "", state: null })}</section>
${mailboxes(found, now)}
${places("services", "Read by", "extract", means.services, found, reader)}
${places("sinks", "Delivered to", "deliver", means.sinks, found, reader)}
${spent(await ledger.spending(new Date(Math.floor(now.getTime() / DAY_MS) * DAY_MS)))}`;
  const count = needing.length + unread.length;
  return { title: count === 0 ? "Overview" : `${count}${beyond.length > 0 ? " and more" : ""} to look at`, main };
}

const DAY_MS = 86_400_000;

function isForPerson({ standing }: Row["troubles"][number]): boolean {
  return standing === "failed" || standing === "held";
}

function health(found: Condition): Html {
  const red = ailmentsOf(found);
  // A person is told at once.
  const early = (found.running ? (found.pulse?.mailboxes ?? []) : []).flatMap(({ mailbox, trouble }) => {
    if (trouble === null || trouble.code === "receive.backlog" || red.some(({ about, name }) => about === "mailbox" && name === mailbox))
      return [];
    return [{ ...trouble, message: `mailbox ${mailbox}: ${trouble.message}` }];
  });
  const ailments = [
    ...red,
    ...early,
    ...refusals(found).filter(({ code, name }) => !red.some((one) => one.code === code && one.name === name)),
  ];
  const told =
    ailments.length === 0
      ? html`<h2>Everything is running</h2><p>Every mailbox is being read.</p>`
      : html`<h2>${many(ailments.length, "thing is", "things are")} wrong</h2>
<ul class="plain">${ailments.map((one) => html`<li class="item"><p>${said(one)}</p></li>`)}</ul>`;
  return html`<section id="health" data-live role="status" class="${ailments.length === 0 ? "well" : "ill"}">${told}</section>`;
}

type Needs = {
  readonly paused: readonly Paused[];
  readonly rows: readonly Row[];
  /** Of which there are more than `rows` has. */
  readonly beyond: readonly ("held" | "failed")[];
  readonly unread: readonly Unread[];
};

function needs({ paused, rows, beyond, unread }: Needs, reader: Reader, now: Date): Html {
  const items = [
    ...paused.map(({ name, since, why }) => {
      const resume = button(`/resume/${name}`, { label: "Go on", about: name, main: true, back: "overview" }, reader);
      return html`<li class="item"><p><strong>${name}</strong> is paused since ${time(since, now)}. ${said({ message: why, advice: null })}</p>
<div class="acts">${resume}</div></li>`;
    }),
    ...rows.map((row) => {
      const why = row.troubles.filter(isForPerson).map((one) => troubleText(one, now));
      return html`<li class="item"><p><a href="/mail/${row.id}">${subjectOf(row)}</a> from ${sender(row)}, ${time(row.receivedAt, now)} ${state(row.standing)}</p>
${why}<div class="acts">${mending(row, subjectOf(row), reader, "overview")}</div></li>`;
    }),
    ...unread.slice(0, SHOWN).map(({ id, arrival }) => {
      const what = `UID ${arrival.origin.uid} in ${arrival.origin.mailbox}`;
      const again = button(`/mail/${id}/retry`, { label: "Fetch it again", about: what, main: true, back: "overview" }, reader);
      return html`<li class="item"><p>A mail (${what}) could not be read, ${time(arrival.seenAt, now)}.</p>
${arrival.fault === null ? null : html`<p>${said(arrival.fault)}</p>`}<div class="acts">${again}${link(`/mail/${id}/ignore`, "Set aside…", what)}</div></li>`;
    }),
  ];
  const failed = rows.filter(({ standing }) => standing === "failed").length;
  const buys = rows.some(({ troubles }) => troubles.some(({ kind, standing }) => kind === "extract" && standing === "failed"));
  const price = buys ? html`<p class="muted">Trying a reading again: ${BUYS_AGAIN}.</p>` : null;
  const everything =
    failed < 2
      ? null
      : html`<div class="acts">${button("/retry-failed", { label: "Try all failed mails again", about: "every one", back: "overview" }, reader)}
<a href="/mails?state=failed">All failed mails</a>${price}</div>`;
  const unshown = unread.length - SHOWN;
  const more = html`${beyond.map((one) => html`<p>There are more: <a href="/mails?state=${one}">all that are ${one}</a>.</p>`)}${
    unshown > 0 ? html`<p>and ${unshown} more that could not be read, shown here when some of these are decided.</p>` : null
  }`;
  return html`<section id="needs" data-live><h2>Needs you</h2>
${items.length === 0 ? html`<p>Nothing needs you.</p>` : html`<ul class="plain">${items}</ul>${more}${everything}`}</section>`;
}

/** What goes on by itself. */
function waits(rows: readonly Row[], now: Date): Html {
  const items = rows.map((row) => {
    const why = row.troubles.filter((one) => !isForPerson(one)).map((one) => troubleText(one, now));
    return html`<li class="item"><p><a href="/mail/${row.id}">${subjectOf(row)}</a> from ${sender(row)} ${state(row.standing)}</p>${why}</li>`;
  });
  return html`<section id="waits" data-live${items.length === 0 ? html` hidden` : null}><h2>Goes on by itself</h2><ul class="plain">${items}</ul></section>`;
}

function counts(tally: Readonly<Record<Standing, number>>): Html | null {
  const some = STANDINGS.filter((one) => tally[one] > 0).toReversed();
  if (some.length === 0) return null;
  return html`<ul class="counts">${some.map((one) => html`<li><strong>${tally[one]}</strong> ${STANDING[one].toLowerCase()}</li>`)}</ul>`;
}

function mailboxes(found: Condition, now: Date): Html {
  const rows = found.mailboxes.map(({ name }) => {
    const swept = lastSweep(found, name);
    const trouble = found.pulse?.mailboxes.find(({ mailbox }) => mailbox === name)?.trouble ?? null;
    return html`<tr><th scope="row">${name}</th><td>${swept === null ? "never" : time(swept, now)}</td><td>${trouble === null ? "–" : said(trouble)}</td></tr>`;
  });
  const heads = ["Mailbox", "Last read", "Trouble"];
  return html`<section id="mailboxes" data-live><h2>Mailboxes</h2>${table("Mailboxes, and when each was read last", heads, rows)}</section>`;
}

const STATES = ["due", "waiting", "failing", "failed", "held"] as const satisfies readonly Queue["state"][];

const PLACE_HEADS: readonly Head[] = [
  "Name",
  ...["Under way", "Waiting", "Trying again", "Failed", "Held"].map((number) => ({ number })),
  { hidden: "Pause or go on" },
];

/** A place that left the configuration is shown while something waits for it, or it is paused. */
function places(id: string, title: string, kind: Queue["kind"], names: readonly string[], found: Condition, reader: Reader): Html {
  const here = found.queues.filter((queue) => queue.kind === kind);
  const all = [...new Set([...names, ...here.flatMap(({ name }) => name ?? [])])];
  const rows = all.map((name) => {
    const isPaused = found.paused.some((one) => one.name === name);
    const cells = STATES.map((one) => here.find((queue) => queue.name === name && queue.state === one)?.tasks ?? 0);
    const act = isPaused
      ? button(`/resume/${name}`, { label: "Go on", about: name, main: true, back: "overview" }, reader)
      : button(`/pause/${name}`, { label: "Pause", about: name, back: "overview" }, reader);
    return html`<tr><th scope="row">${name} ${isPaused ? html`<span class="state paused">Paused</span>` : null}</th>
${cells.map((count) => html`<td class="number">${count === 0 ? "–" : count}</td>`)}<td class="act">${act}</td></tr>`;
  });
  return html`<section id="${id}" data-live><h2>${title}</h2>${table(`${title}: what waits, by place`, PLACE_HEADS, rows)}</section>`;
}

function spent(rows: readonly Spending[]): Html {
  const lines = rows.map(({ service, mailbox, runs, credits, possiblyTwice }) => {
    const doubt = possiblyTwice === 0 ? null : `, of them ${possiblyTwice} possibly bought twice`;
    return html`<tr><th scope="row">${service}</th><td>${mailbox}</td><td class="number">${runs}${doubt}</td><td class="number">${credits ?? "–"}</td></tr>`;
  });
  const none = html`<p>Nothing was bought today (UTC).</p>`;
  const heads = ["Service", "Mailbox", { number: "Runs" }, { number: "Credits" }];
  const bill = table("Runs bought today (UTC), and what the service says they cost in its own credits", heads, lines, true);
  return html`<section id="spent" data-live><h2>Spent today</h2>${rows.length === 0 ? none : bill}</section>`;
}
