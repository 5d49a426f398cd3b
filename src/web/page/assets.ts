/** What the page needs besides itself, under names made of its content: kept by browsers for ever, and changed at once when it changes. */
import { createHash } from "node:crypto";
import type { Reply } from "../web.ts";
import { SCRIPT } from "./script.ts";
import { STYLE } from "./style.ts";

const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M3 1h7l3 3v11H3z" fill="#1f5f8b"/><path d="M5.5 7h5M5.5 9.5h5M5.5 12h3" stroke="#fff"/></svg>`;

const style = asset(STYLE, "css", "text/css; charset=utf-8");
const script = asset(SCRIPT, "js", "text/javascript; charset=utf-8");
const icon = asset(ICON, "svg", "image/svg+xml");

export const ASSETS = { style: style.path, script: script.path, icon: icon.path };

const REPLIES = new Map([style, script, icon].map(({ path, reply }) => [path, reply]));

export function assetAt(path: string): Reply | null {
  return REPLIES.get(path) ?? null;
}

function asset(text: string, extension: string, type: string): { readonly path: string; readonly reply: Reply } {
  const path = `/page/${createHash("sha256").update(text).digest("hex").slice(0, 16)}.${extension}`;
  return { path, reply: { status: 200, text, type, headers: { "cache-control": "public, max-age=31536000, immutable" } } };
}
