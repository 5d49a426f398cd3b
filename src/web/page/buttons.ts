/** The buttons: each is a form by itself, and says to those who do not see it what it is about. */

import { BUYS_AGAIN, type Row } from "../../desk/desk.ts";
import { type Html, html } from "./html.ts";
import { form } from "./layout.ts";
import type { Reader } from "./means.ts";

/** `back`: where its sender stands; the list is come back to, the mail anyway. */
export type Button = { readonly label: string; readonly about: string; readonly main?: boolean; readonly back?: "overview" };

export function button(action: string, { label, about, main = false, back }: Button, reader: Reader): Html {
  const from = back === undefined ? null : html`<input type="hidden" name="back" value="${back}">`;
  const text = html`${label}<span class="hidden">: ${about}</span>`;
  return form(action, reader, html`${from}${main ? html`<button class="main">${text}</button>` : html`<button>${text}</button>`}`);
}

export function link(href: string, label: string, about: string): Html {
  return html`<a class="button" href="${href}">${label}<span class="hidden">: ${about}</span></a>`;
}

/** What mends a mail that waits for a person. */
export function mending({ id, troubles }: Pick<Row, "id" | "troubles">, about: string, reader: Reader, back?: "overview"): Html {
  const has = (standing: string) => troubles.some((one) => one.standing === standing);
  const from = back === undefined ? {} : { back };
  const buys = troubles.some((one) => one.standing === "failed" && one.kind === "extract");
  const price = buys ? html`<p class="muted">Trying again: ${BUYS_AGAIN}.</p>` : null;
  return html`${has("held") ? button(`/mail/${id}/release`, { label: "Let it go on", about, main: true, ...from }, reader) : null}${
    has("failed") ? button(`/mail/${id}/retry`, { label: "Try again", about, main: true, ...from }, reader) : null
  }${troubles.length > 0 ? link(`/mail/${id}/ignore`, "Set aside…", about) : null}${price}`;
}
