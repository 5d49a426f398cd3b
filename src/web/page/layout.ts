/** The frame of every view: head, way back, what was just done, and the headers that keep a browser from doing more than it should. */
import type { FaultRecord } from "../../base/errors.ts";
import type { Reply } from "../web.ts";
import { ASSETS } from "./assets.ts";
import { type Html, html, written } from "./html.ts";
import type { Reader } from "./means.ts";
import { said, zone } from "./words.ts";

export type View = { readonly title: string; readonly main: Html; readonly status?: number; readonly said?: string | null };

/**
 * Nothing but what we serve ourselves, no scripts or styles in the page, in nobody's frame (CSP Level 3). The referrer stays within:
 * with `no-referrer` browsers would send the forms with `Origin: null` (Fetch, 3.1), and where they stood is what they are judged by.
 */
const HEADERS = {
  "content-security-policy":
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; " +
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
  "referrer-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

/** `reader` null: nobody has signed in. */
export function page({ title, main, status = 200, said = null }: View, reader: Reader | null): Reply {
  const notice = said === null ? null : html`<p class="said" role="status">${said}</p>`;
  const leave = reader?.mayLeave === true ? form("/logout", reader, html`<button>Sign out</button>`) : null;
  const text = written(html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} – billhook</title>
<link rel="icon" href="${ASSETS.icon}">
<link rel="stylesheet" href="${ASSETS.style}">
${reader === null ? null : html`<script src="${ASSETS.script}" defer></script>`}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header><div class="wide"><a class="name" href="/">billhook</a>${reader === null ? null : NAVIGATION}${leave}</div></header>
<main id="main" class="wide">${notice}${main}</main>
<footer class="wide">Times are those of ${zone()}.</footer>
</body>
</html>
`);
  return { status, text, type: "text/html; charset=utf-8", headers: HEADERS };
}

const NAVIGATION = html`<nav aria-label="Pages"><a href="/">Overview</a> · <a href="/mails">All mails</a></nav>`;

/** A form that changes something. */
export function form(action: string, { csrf }: Reader, content: Html): Html {
  return html`<form method="post" action="${action}"><input type="hidden" name="csrf" value="${csrf}">${content}</form>`;
}

/** What went wrong, and what to do. */
export function troubled(status: number, title: string, fault: Pick<FaultRecord, "message" | "advice">): View {
  return {
    title,
    status,
    main: html`<section class="ill"><h1>${title}</h1><p>${said(fault)}</p><p><a href="/">Back to the overview</a></p></section>`,
  };
}

export function redirect(location: string, more: Readonly<Record<string, string | string[]>> = {}): Reply {
  return { status: 303, text: "", type: "text/plain; charset=utf-8", headers: { ...HEADERS, ...more, location } };
}
