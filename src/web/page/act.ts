/** What a person decides on the page: the forms that ask before, and what the buttons do. */
import { permanent } from "../../base/errors.ts";
import { type Html, html } from "./html.ts";
import { form, type View } from "./layout.ts";
import type { Means, Reader } from "./means.ts";
import { many, subjectOf } from "./words.ts";

/** What a form said. */
export type Said = { readonly get: (name: string) => string };

/** What became of it: a code of `flash`, and where its sender goes on. */
export type Acted = { readonly code: string; readonly to: string };

const LONGEST_WHY = 200;

/** Throws what the desk throws. */
export async function actOnMail(means: Means, id: string, what: string, said: Said): Promise<Acted> {
  const { desk } = means;
  const acts = {
    retry: () => desk.retry(id),
    release: () => desk.release(id),
    replay: () => desk.replay(id, said.get("sink") || null),
    reextract: () => desk.reextract(id, said.get("service") || null),
    ignore: () => {
      const why = said.get("why").trim().slice(0, LONGEST_WHY);
      if (why === "") throw permanent("desk.why", "a reason is needed to set a mail aside", "go back and say why, in a few words");
      return desk.ignore(id, why);
    },
  };
  const done = await acts[what as keyof typeof acts]();
  means.wake();
  const isList = said.get("back") === "overview" || id.startsWith("u");
  return { code: done.length === 0 ? "nothing" : what, to: isList ? "/" : `/mail/${id}` };
}

/** Every failed mail. */
export async function retryFailed({ ledger, clock, wake }: Means): Promise<Acted> {
  const tasks = await ledger.reopen(null, clock.now());
  wake();
  return { code: tasks.length === 0 ? "nothing" : "retry", to: "/" };
}

export async function pauseOrResume(means: Means, what: "pause" | "resume", name: string): Promise<Acted> {
  const { ledger, services, sinks, clock, wake } = means;
  const now = clock.now();
  if (what === "resume") {
    const isResumed = await ledger.resume(name, now);
    wake();
    return { code: isResumed ? "resume" : "nothing", to: "/" };
  }
  if (![...services, ...sinks].includes(name)) throw permanent("desk.unknown", `there is no service and no sink ${name}`);
  await ledger.pause(name, "paused by hand, on the page", now);
  return { code: "pause", to: "/" };
}

/** Says what reading again costs before it is done. Throws what `desk.price` throws. */
export async function askAgain({ desk, services }: Means, id: string, service: string | null, reader: Reader): Promise<View> {
  const life = await desk.show(id);
  const price = await desk.price(id, service);
  const others = services.filter((name) => name !== price.service);
  const other =
    others.length === 0
      ? null
      : html`<form action="/mail/${id}/again" class="row"><label>Another service <select name="service">${others.map((name) => html`<option>${name}</option>`)}</select></label><button>Ask what it costs there</button></form>`;
  const confirm = form(
    `/mail/${id}/reextract`,
    reader,
    html`<input type="hidden" name="service" value="${service === null ? "" : price.service}"><button class="main">Read it again, and pay for it</button>`,
  );
  return {
    title: "Read again",
    main: asking(
      id,
      html`<h1>Read “<bdi>${subjectOf(life)}</bdi>” again?</h1>
<p>This buys <strong>at least ${many(price.runs, "run")}</strong> at <strong>${price.service}</strong>. What is found is delivered as new documents; what was delivered before stays.</p>`,
      html`${confirm}${other}`,
    ),
  };
}

/** Asks why. */
export async function askIgnore({ desk }: Means, id: string, reader: Reader): Promise<View> {
  const name = id.startsWith("u") ? "the mail that could not be read" : subjectOf(await desk.show(id));
  const why = html`<label>Why? <textarea name="why" rows="2" maxlength="${LONGEST_WHY}" required></textarea></label><button class="main">Set it aside</button>`;
  return {
    title: "Set aside",
    main: asking(
      id,
      html`<h1>Set “<bdi>${name}</bdi>” aside?</h1><p>Nothing more is done for it. Your reason stays on record.</p>`,
      form(`/mail/${id}/ignore`, reader, why),
    ),
  };
}

function asking(id: string, question: Html, answers: Html): Html {
  return html`<section>${question}<div class="acts">${answers}</div><p><a href="${id.startsWith("u") ? "/" : `/mail/${id}`}">No, go back</a></p></section>`;
}
