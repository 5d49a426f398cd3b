/** One mail: where it stands, what it looks like beside what was read, where it went, what it cost, and what happened to it. */
import type { DocumentLife, Life } from "../../desk/desk.ts";
import { sizeText } from "../../pipeline/health.ts";
import { deliveryNameOf, positionOf } from "../../store/delivery.ts";
import { link, mending } from "./buttons.ts";
import { fields } from "./fields.ts";
import { type Html, html } from "./html.ts";
import { form, type View } from "./layout.ts";
import type { Means, Reader } from "./means.ts";
import { chosen, nameOf, partTree, picture } from "./parts.ts";
import { table } from "./table.ts";
import { addresses, happened, many, moment, said, sentence, state, subjectOf, time, troubleText } from "./words.ts";

/** Longer than the life of any mail that went well. */
const MOST_EVENTS = 500;
/** Of one document. */
const MOST_INVOICES = 50;

/** Throws what `desk.show` throws. */
export async function mail({ desk, sinks }: Means, id: string, wanted: string | null, reader: Reader, now: Date): Promise<View> {
  const life = await desk.show(id);
  const part = chosen(life, wanted);
  const look = part === null ? html`<p>There is nothing to look at.</p>` : await picture(desk, id, part);
  const main = html`${head(life, now)}
${standing(life, sinks, reader, now)}
<div class="beside">
<section id="document"><h2>${part === null ? "Document" : html`<bdi>${nameOf(part)}</bdi>`}</h2>${look}</section>
<section id="fields" data-live><h2>What was read</h2>${read(life)}</section>
</div>
<section id="parts" data-live><h2>Parts of the mail</h2>${partTree(life)}</section>
${deliveries(life)}
${runs(life)}
${timeline(life, now)}
<section><details><summary>For the technician</summary><dl class="fields"><dt>Id</dt><dd><code>${id}</code></dd><dt>Message-ID</dt><dd><code>${
    life.facts?.messageId ?? "none"
  }</code></dd><dt>Rule</dt><dd>${life.route?.rule ?? "none, the usual way"}</dd><dt>Size</dt><dd>${sizeText(life.size)}</dd></dl>${
    life.rawKept ? html`<p><a href="/mail/${id}/raw" download>Save the whole mail</a></p>` : html`<p>The mail itself was removed.</p>`
  }</details></section>`;
  return { title: subjectOf(life), main };
}

function head(life: Life, now: Date): Html {
  const { facts, mailboxes } = life;
  return html`<h1><bdi>${subjectOf(life)}</bdi></h1>
<dl class="fields"><dt>From</dt><dd><bdi>${addresses(facts?.from)}</bdi></dd><dt>To</dt><dd><bdi>${addresses(facts?.to)}</bdi></dd><dt>Arrived</dt><dd>${time(life.receivedAt, now)} in ${mailboxes.join(", ") || "no mailbox"}</dd></dl>`;
}

function standing(life: Life, sinks: readonly string[], reader: Reader, now: Date): Html {
  const { id, troubles, faults } = life;
  const about = subjectOf(life);
  const why = troubles.map((one) => troubleText(one, now));
  const odd = faults.map((fault) => html`<p>Something in the mail is odd, and the rest is good: ${said(fault)}</p>`);
  const rule = life.standing === "ignored" && life.route?.why ? html`<p>${sentence(life.route.why)}</p>` : null;
  const told = new Set(life.deliveries.map(({ sink }) => sink));
  const choice = sinks.toSorted((a, b) => Number(told.has(b)) - Number(told.has(a)));
  const again =
    life.documents.length === 0 || life.gone.results !== null
      ? null
      : form(
          `/mail/${id}/replay`,
          reader,
          html`<label>Deliver again to <select name="sink"><option value="">everywhere it went</option>${choice.map((name) => html`<option>${name}</option>`)}</select></label><button>Deliver again</button>`,
        );
  return html`<section id="standing" data-live><h2>Where it stands</h2><p>${state(life.standing)}</p>${why}${rule}${odd}
<div class="acts">${mending(life, about, reader)}${again}${life.rawKept ? link(`/mail/${id}/again`, "Read again…", about) : null}</div></section>`;
}

function read({ documents }: Life): Html {
  if (documents.length === 0) return html`<p>Nothing was given to a service.</p>`;
  return html`${documents.map((document) => {
    const { invoices, result, record, fault } = document;
    const heading = (text: string) => (documents.length > 1 || invoices.length > 1 ? html`<h3>${text}</h3>` : null);
    if (result === null || fault !== null) return html`${heading(`Document ${record.position}`)}<p>${whyNot(document)}</p>`;
    if (invoices.length === 0)
      return html`${heading(`Document ${record.position}`)}<p>The service answered, and there is no invoice in its answer.</p>`;
    const shown = invoices.slice(0, MOST_INVOICES);
    const left = invoices.length > shown.length ? html`<p>and ${invoices.length - shown.length} more</p>` : null;
    return html`${shown.map(
      (one, index) => html`${heading(`Document ${record.position}, invoice ${index + 1} of ${invoices.length}`)}${fields(one)}`,
    )}${left}`;
  })}`;
}

function whyNot({ task, record, fault }: DocumentLife): Html {
  if (fault !== null) return said(fault);
  if (task === null || task.status === "open") return html`Nothing yet: ${record.service} has not answered.`;
  return task.fault === null ? html`Nothing was read.` : said(task.fault);
}

function deliveries(life: Life): Html {
  const rows = life.deliveries.map(({ key, sink, task, receipt }) => {
    const { of, time: times } = deliveryNameOf(key);
    const what = positionOf(of) === 0 ? "the whole mail" : `document ${positionOf(of)}`;
    const proof = receipt === null ? (task.fault === null ? "–" : said(task.fault)) : receiptText(receipt);
    return html`<tr><th scope="row">${sink}</th><td>${what}${times > 1 ? `, time ${times}` : ""}</td><td>${state(standingOfTask(task))}</td><td>${proof}</td></tr>`;
  });
  const heads = ["To", "What", "State", "Receipt"];
  const told = rows.length === 0 ? html`<p>None yet.</p>` : table("Deliveries and their receipts", heads, rows);
  return html`<section id="deliveries" data-live><h2>Deliveries</h2>${told}</section>`;
}

function standingOfTask({ status, attempts, fault }: Life["tasks"][number]) {
  if (status === "replaced") return "ignored";
  if (status !== "open") return status;
  return attempts > 0 ? "retrying" : fault === null ? "working" : "waiting";
}

function receiptText(receipt: Readonly<Record<string, string | number | boolean | null>>): Html {
  const pairs = Object.entries(receipt).filter(([, value]) => value !== null);
  return html`${pairs.map(([name, value]) => html`<div><span class="muted">${name}</span> ${String(value)}</div>`)}`;
}

function runs({ documents }: Life): Html {
  const rows = documents.flatMap(({ record, runs: its }) =>
    its.map(
      ({ service, runId, credits, possiblyTwice, onlyDoubt }) =>
        html`<tr><th scope="row">${record.position}</th><td>${service}</td><td><code>${runId ?? (onlyDoubt ? "none that is known" : "unknown")}</code></td><td class="number">${credits ?? "–"}</td><td>${
          possiblyTwice === 0 ? null : `${many(possiblyTwice, "time")} possibly bought twice`
        }</td></tr>`,
    ),
  );
  const heads = ["Document", "Service", "Run", { number: "Credits" }, "Doubt"];
  const bill = table("Runs, and what the service says they cost in its own credits", heads, rows);
  return html`<section id="runs" data-live><h2>Price</h2>${rows.length === 0 ? html`<p>Nothing was bought for it.</p>` : bill}</section>`;
}

function timeline({ events }: Life, now: Date): Html {
  const shown = events.slice(-MOST_EVENTS);
  const left =
    events.length > shown.length ? html`<p>${many(events.length - shown.length, "older entry", "older entries")} left out.</p>` : null;
  const items = shown.map(
    (event) =>
      html`<li><span class="when">${moment(event.at, now)}</span> ${happened(event)}${event.mailbox === null ? null : html` <span class="muted">${event.mailbox}</span>`}${
        event.note === null ? null : html` <span class="muted">${event.note}</span>`
      }</li>`,
  );
  return html`<section id="timeline" data-live><h2>What happened</h2>${left}<ol class="plain timeline">${items}</ol></section>`;
}
