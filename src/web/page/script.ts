/** The script of the page: looks again when something changed, and swaps what is different; without it the page is complete, and still. */

/** Sections that live have an id and `data-live`. What is focused, chosen or being typed in stays as it is. */
export const SCRIPT = `"use strict";
(() => {
  const live = () => document.querySelectorAll("[data-live][id]");
  const last = new Map();
  for (const section of live()) last.set(section.id, section.outerHTML);
  let source = null;
  let looking = false;
  let again = false;

  const isTyping = (section) => {
    const at = document.activeElement;
    return section.contains(at) && at.matches("input, textarea, select");
  };

  const focusKey = (section) => {
    const at = document.activeElement;
    if (!section.contains(at)) return null;
    if (at.matches("a[href]")) return "a[href=" + JSON.stringify(at.getAttribute("href")) + "]";
    if (at.matches("form button")) return "form[action=" + JSON.stringify(at.form.getAttribute("action")) + "] button";
    return at.id ? "#" + CSS.escape(at.id) : null;
  };

  const swap = (old, fresh) => {
    if (isTyping(old)) return;
    last.set(old.id, fresh.outerHTML);
    for (const one of old.querySelectorAll("form [name]:not([type=hidden])")) {
      const same = fresh.querySelector("form[action=" + JSON.stringify(one.form.getAttribute("action")) + "] [name=" + one.name + "]");
      if (same) same.value = one.value;
    }
    const key = focusKey(old);
    old.className = fresh.className;
    old.hidden = fresh.hidden;
    // The section itself stays: of one that came anew a screen reader would not say what changed.
    old.replaceChildren(...fresh.childNodes);
    if (key) old.querySelector(key)?.focus({ preventScroll: true });
  };

  const look = async () => {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      const text = await answer.text();
      // The session is over, or the daemon is another one: what stands here is old.
      if (answer.redirected && new URL(answer.url).pathname !== location.pathname) return location.reload();
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(text, "text/html");
      for (const old of live()) {
        const fresh = page.getElementById(old.id);
        if (fresh && fresh.outerHTML !== last.get(old.id)) swap(old, fresh);
      }
      document.title = page.title;
    } catch {
      // The daemon is away; the event source comes back when it does.
    } finally {
      looking = false;
      if (again) {
        again = false;
        setTimeout(look, 1000);
      }
    }
  };

  // A browser keeps few connections to one server: what nobody looks at holds none.
  const listen = () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (source === null) {
      source = new EventSource("/events");
      // What changed before it listened was not told; after a restart the forms are old.
      source.onopen = look;
      source.onmessage = look;
      source.onerror = () => {
        if (source?.readyState !== EventSource.CLOSED) return;
        source = null;
        look();
        setTimeout(listen, 30000);
      };
    }
  };
  let hidden = document.hidden;
  document.addEventListener("visibilitychange", () => {
    if (hidden && !document.hidden) look();
    hidden = document.hidden;
    listen();
  });
  listen();
})();
`;
