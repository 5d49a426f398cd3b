/** Whatever a service answers, no fault of its extractor tells a secret. */
import { expect, it } from "vitest";
import { Fault, permanent } from "../../src/base/errors.ts";
import { discreet } from "../../src/extractor/discreet.ts";
import type { Document, Extractor } from "../../src/extractor/extractor.ts";

const KEY = "sk_live_sesame";
const never = new AbortController().signal;
const document = {} as Document;

function saying(advance: Extractor["advance"]): Extractor {
  return discreet(
    {
      name: "service",
      grain: "message",
      accepts: () => true,
      plan: () => ({ submitted: [], left: [], refusal: null }),
      buys: () => true,
      advance,
      probe: async () => {
        throw new Fault("service.unauthorized", `invalid key ${KEY}`, { advice: "check it" });
      },
    },
    [KEY],
  );
}

it("not in a refusal", async () => {
  const { advance } = saying(async () => ({
    is: "refused",
    memo: null,
    fault: permanent("service.refused", `400: bad header Bearer ${KEY}`),
  }));
  expect(await advance(document, null, "key", never)).toMatchObject({
    is: "refused",
    fault: { message: "400: bad header Bearer …", temporary: false },
  });
});

it("not in what is thrown, whose code, advice and moment stay", async () => {
  const retryAt = new Date("2026-05-04T10:00:00Z");
  const { advance, probe } = saying(async () => {
    throw new Fault("service.limited", `${KEY} may come back`, { retryAt, blameless: true });
  });
  await expect(advance(document, null, "key", never)).rejects.toMatchObject({
    message: "… may come back",
    retryAt,
    blameless: true,
    temporary: true,
  });
  await expect(probe(never)).rejects.toMatchObject({ code: "service.unauthorized", message: "invalid key …", advice: "check it" });
});

it("and an answer is left as it is", async () => {
  const answer = { runId: "run", data: { key: KEY }, credits: null, reasoning: null, review: null, raw: {} };
  const { advance } = saying(async () => ({ is: "answered", memo: {}, answer }));
  expect(await advance(document, null, "key", never)).toEqual({ is: "answered", memo: {}, answer });
});

it("and what is awaited right before a purchase is passed on", async () => {
  const told: string[] = [];
  const { advance } = saying(async (_document, memo, _key, _signal, buying) => {
    await buying?.();
    return { is: "going", memo: memo ?? {}, nextAt: new Date(0) };
  });
  await advance(document, null, "key", never, async () => void told.push("buying"));
  expect(told).toEqual(["buying"]);
});
