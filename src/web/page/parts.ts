/** The parts of a mail as a tree, and one of them to look at. */
import { asFault } from "../../base/errors.ts";
import type { Desk, Life } from "../../desk/desk.ts";
import { htmlText } from "../../invoice/html.ts";
import { typeOf } from "../../message/message.ts";
import { sizeText } from "../../pipeline/health.ts";
import { type Html, html } from "./html.ts";
import { beginningOf, looksOf } from "./serve.ts";
import { said, short } from "./words.ts";

type KeptPart = Life["parts"][number];

const MOST_TEXT = 64 * 1024;
/** HTML is longer than what it says. */
const MOST_HTML = 512 * 1024;
/** A mail can hold thousands; nobody reads a longer tree. */
const MOST_PARTS = 300;

export function nameOf({ id, filename, role, contentType }: KeptPart): string {
  if (filename !== null) return short(filename);
  if (role === "body") return contentType === "text/html" ? "Text of the mail (HTML)" : "Text of the mail";
  return `Part ${id}`;
}

export function partTree(life: Life): Html {
  const { id, parts, documents } = life;
  const given = new Set(documents.flatMap(({ record }) => record.parts));
  const skipped = new Set(documents.flatMap((one) => one.skipped));
  const shown = parts.slice(0, MOST_PARTS);
  const item = (part: KeptPart): Html => {
    const fate = skipped.has(part.id) ? ", left out" : given.has(part.id) ? ", read" : "";
    const look =
      part.kept && looksOf(part) !== null
        ? html` <a href="/mail/${id}?part=${part.id}#document">Show<span class="hidden"> ${nameOf(part)}</span></a>`
        : null;
    const save = part.kept
      ? html` <a href="/mail/${id}/part/${part.id}" download>Save<span class="hidden"> ${nameOf(part)}</span></a>`
      : " removed";
    const inside = shown.filter(({ parent }) => parent === part.id);
    return html`<li><bdi>${nameOf(part)}</bdi> <span class="muted">${typeOf(part)}, ${sizeText(part.size)}${fate}</span>${look}${save}${
      inside.length === 0 ? null : html`<ul class="tree">${inside.map(item)}</ul>`
    }</li>`;
  };
  const more = parts.length > MOST_PARTS ? html`<p>and ${parts.length - MOST_PARTS} more</p>` : null;
  const tree = html`<ul class="tree">${shown.filter(({ parent }) => parent === null).map(item)}</ul>${more}`;
  if (shown.length > 0) return tree;
  return html`<p>${life.gone.parts === null ? "It was not taken apart yet." : "They were removed when their time was over."}</p>`;
}

/** The part that is wanted, or the one the invoice most likely stands in: read before unread, a PDF before a picture before text. */
export function chosen({ parts, documents }: Pick<Life, "parts" | "documents">, wanted: string | null): KeptPart | null {
  const visible = parts.filter((part) => part.kept && looksOf(part) !== null);
  const asked = visible.find(({ id }) => id === wanted);
  if (asked !== undefined) return asked;
  const read = new Set(documents.flatMap(({ record, skipped }) => record.parts.filter((id) => !skipped.includes(id))));
  const rank = (part: KeptPart) => {
    const looks = looksOf(part);
    const kind = looks === "pdf" ? 0 : looks === "image" ? 1 : part.role === "attachment" ? 2 : looks === "text" ? 3 : 4;
    // Small pictures are logos, and a mail's own words say the least.
    return (read.has(part.id) ? 0 : 10) + (looks === "image" && part.disposition === "inline" ? 5 : kind);
  };
  return visible.toSorted((a, b) => rank(a) - rank(b)).at(0) ?? null;
}

/** The part itself: a PDF in the browser's own viewer, a picture, or the letters of everything else that is text. */
export async function picture(desk: Desk, id: string, part: KeptPart): Promise<Html> {
  const source = `/mail/${id}/part/${part.id}`;
  const looks = looksOf(part);
  if (looks === "pdf") {
    return html`<iframe src="${source}#navpanes=0&view=FitH" title="${nameOf(part)}"></iframe><p><a href="${source}" target="_blank" rel="noopener">Open in a page of its own</a></p>`;
  }
  if (looks === "image") return html`<img src="${source}" alt="${nameOf(part)}">`;
  try {
    const { text, isWhole } = await beginningOf(desk, id, part.id, looks === "html" ? MOST_HTML : MOST_TEXT);
    const letters = looks === "html" ? htmlText(text).slice(0, MOST_TEXT) : text;
    const cut = isWhole
      ? null
      : html`<p class="muted">This is its beginning. <a href="${source}" download>Save it</a> to see all of it.</p>`;
    return html`<pre tabindex="0" role="region" aria-label="${nameOf(part)}">${letters}</pre>${cut}`;
  } catch (thrown) {
    return html`<p>${said(asFault(thrown))}</p>`;
  }
}
