/** Mails as a table, and looking for them. */
import type { Row, Unread } from "../../desk/desk.ts";
import type { Mapped } from "../../mapping/mapping.ts";
import { STANDINGS, type Standing } from "../../store/record.ts";
import { button } from "./buttons.ts";
import { type Html, html } from "./html.ts";
import type { View } from "./layout.ts";
import type { Means, Reader } from "./means.ts";
import { STANDING, sender, state, subjectOf, time } from "./words.ts";

export const PAGE = 50;
const LONGEST = 200;

type Sought = { readonly from: string; readonly subject: string; readonly state: Standing | null; readonly before: string | null };

export function mailTable(rows: readonly Row[], caption: string, now: Date): Html {
  return html`<table>
<caption>${caption}</caption>
<thead><tr><th scope="col">Arrived</th><th scope="col">Mail</th><th scope="col" class="broad">Invoice</th><th scope="col" class="broad number">Total</th><th scope="col">State</th></tr></thead>
<tbody>${rows.map((row) => line(row, now))}</tbody>
</table>`;
}

function line(row: Row, now: Date): Html {
  const { invoices } = row;
  const each = (text: (one: Mapped) => string) => invoices.slice(0, 5).map((one) => html`<div>${text(one)}</div>`);
  const more = invoices.length > 5 ? html`<div>and ${invoices.length - 5} more</div>` : null;
  const narrow = invoices.length === 0 ? null : html`<div class="narrow">${each((one) => `${named(one)} ${total(one)}`)}${more}</div>`;
  return html`<tr>
<td class="when">${time(row.receivedAt, now)}</td>
<td><a href="/mail/${row.id}">${subjectOf(row)}</a><div class="muted">${sender(row)}</div>${narrow}</td>
<td class="broad">${each(named)}${more}</td>
<td class="broad number">${each(total)}</td>
<td>${state(row.standing)}</td>
</tr>
`;
}

function named({ invoice }: Mapped): string {
  return [invoice.number, invoice.seller.name].filter((text) => text !== null).join(", ") || "without a number";
}

function total({ invoice: { gross, currency } }: Mapped): string {
  return gross === null ? "–" : `${gross}${currency === null ? "" : ` ${currency}`}`;
}

export function searchForm({ from, subject, state }: Omit<Sought, "before">): Html {
  const option = (one: Standing) => html`<option value="${one}"${state === one ? html` selected` : null}>${STANDING[one]}</option>`;
  return html`<form action="/mails" role="search" class="row">
<label>Sender <input name="from" value="${from}" maxlength="${LONGEST}"></label>
<label>Subject <input name="subject" value="${subject}" maxlength="${LONGEST}"></label>
<label>State <select name="state"><option value="">any</option>${STANDINGS.map(option)}</select></label>
<label>Id or Message-ID <input name="id" maxlength="998"></label>
<button>Search</button>
</form>`;
}

/** A page of all mails, or of those that are looked for, newest first. */
export async function mailList({ desk }: Means, query: URLSearchParams, reader: Reader, now: Date): Promise<View> {
  const sought = soughtIn(query);
  const { from, subject, state, before } = sought;
  // One more than is shown says whether there are older ones.
  const found = await desk.list({ from: from || null, subject: subject || null, state, before, limit: PAGE + 1 });
  const rows = found.slice(0, PAGE);
  const last = rows.at(-1);
  const older = found.length > PAGE && last !== undefined ? html`<p><a href="${olderThan(last.id, sought)}">Older mails</a></p>` : null;
  const table = rows.length === 0 ? html`<p>No mail fits.</p>` : mailTable(rows, "Newest first", now);
  const aside = state === "ignored" && `${from}${subject}` === "" && before === null ? await desk.unread(true) : [];
  const main = html`<h1>Mails</h1>
<section>${searchForm(sought)}</section>
<section id="mails" data-live><h2 class="hidden">Found</h2>${table}${older}</section>${setAside(aside, reader, now)}`;
  return { title: "Mails", main };
}

/** What the mailbox never gave and a person has set aside: it is no mail, and can be fetched after all. */
function setAside(unread: readonly Unread[], reader: Reader, now: Date): Html | null {
  if (unread.length === 0) return null;
  const items = unread.slice(-PAGE).map(({ id, arrival: { origin, seenAt, ignored } }) => {
    const what = `UID ${origin.uid} in ${origin.mailbox}`;
    const again = button(`/mail/${id}/retry`, { label: "Fetch it again", about: what, back: "overview" }, reader);
    return html`<li class="item"><p>A mail (${what}) that could not be read, ${time(seenAt, now)}: ${ignored}</p><div class="acts">${again}</div></li>`;
  });
  return html`<section id="aside" data-live><h2>Set aside without being read</h2><ul class="plain">${items.toReversed()}</ul></section>`;
}

function soughtIn(query: URLSearchParams): Sought {
  const text = (name: string) => (query.get(name) ?? "").trim().slice(0, LONGEST);
  const before = query.get("before") ?? "";
  return {
    from: text("from"),
    subject: text("subject"),
    state: STANDINGS.find((one) => one === query.get("state")) ?? null,
    before: /^[0-9a-f]{64}$/.test(before) ? before : null,
  };
}

function olderThan(before: string, { from, subject, state }: Sought): string {
  return `/mails?${new URLSearchParams({ from, subject, state: state ?? "", before })}`;
}
