/** A table as everyone can use it: with a name and heads, and where it is too wide for its place it can be moved, by keys too. */
import { type Html, html } from "./html.ts";

/** A column of numbers, or of what is seen only when it is heard. */
export type Head = string | { readonly number: string } | { readonly hidden: string };

/** `rows` are `tr`s; the caption is heard only, unless it is to be seen. */
export function table(caption: string, heads: readonly Head[], rows: readonly Html[], isSeen = false): Html {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table>
${isSeen ? html`<caption>${caption}</caption>` : html`<caption class="hidden">${caption}</caption>`}
<thead><tr>${heads.map(head)}</tr></thead>
<tbody>${rows}</tbody>
</table></div>`;
}

function head(one: Head): Html {
  if (typeof one === "string") return html`<th scope="col">${one}</th>`;
  if ("number" in one) return html`<th scope="col" class="number">${one.number}</th>`;
  return html`<th scope="col"><span class="hidden">${one.hidden}</span></th>`;
}
