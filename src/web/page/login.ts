/** Signing in with the token of the configuration. */
import { html } from "./html.ts";
import type { View } from "./layout.ts";

const TROUBLES = {
  wrong: "That is not the token of web.token in the configuration.",
  slow: "A wrong token has just been tried from here. Wait a second, and try again.",
} as const;

/** `to`: where its reader wanted to go. */
export function login(to: string, trouble: keyof typeof TROUBLES | null = null): View {
  const said = trouble === null ? null : html`<p role="alert" class="missing">${TROUBLES[trouble]}</p>`;
  return {
    title: "Sign in",
    status: trouble === null ? 200 : trouble === "slow" ? 429 : 403,
    main: html`<section><h1>Sign in</h1>${said}
<form method="post" action="/login" class="row"><input type="hidden" name="to" value="${to}">
<label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label><button class="main">Sign in</button></form></section>`,
  };
}

/** A path of ours, whatever was asked for. */
export function wayBack(to: string): string {
  const url = /^\/[\x21-\x7e]*$/.test(to) && to.length <= 2_000 ? URL.parse(to, "http://page") : null;
  // `/.//host` is a path, and once it is resolved the name of a host.
  const isOurs = url !== null && url.host === "page" && !url.pathname.startsWith("//") && url.pathname !== "/login";
  return isOurs ? url.pathname + url.search : "/";
}
