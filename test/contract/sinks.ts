/**
 * The role of a sink as a suite: delivered once a key as far as its protocol can, whole, whatever is repeated, refused or interrupted.
 *
 * An implementation joins by giving one `SinkUnderTest`: keep it in test/sink/ (`http-side.ts`, `smtp-side.ts`), import it in
 * test/contract/sink.test.ts and add it to the list there. What only one kind of sink can do is tested in its own test/sink/*.test.ts.
 */
import { setImmediate } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fault } from "../../src/base/errors.ts";
import type { Delivery, Sink } from "../../src/sink/sink.ts";
import { delivery, deliveryOfMessage, MESSAGE, piece } from "../sink/deliveries.ts";
import { hostile } from "../sink/hostile.ts";

export type SinkUnderTest = {
  /** For people: `file, csv`. */
  readonly name: string;
  /** Whether the sinks it makes take attachments along. */
  readonly attachments: boolean;
  /** Whether a repeated delivery is kept from the other side, or reaches it again, told by the same id. */
  readonly repeats: "kept" | "told";
  /** Ways its other side can fail; `break` is told which by `what`. */
  readonly failures: readonly Failure[];
  /** Ways its other side can fall silent (a delivery ends only because it is aborted); `break` is told which. */
  readonly silences: readonly string[];
  /** What must not be in any fault or receipt. */
  readonly secrets: readonly string[];
  /** Another side for every test, with nothing received. */
  readonly start: () => Promise<OtherSide>;
};

export type Failure = {
  readonly what: string;
  /** Of the Fault. */
  readonly code: string;
  readonly temporary: boolean;
  readonly halts?: boolean;
  /** The other side has taken it, and only the answer is lost. */
  readonly taken?: boolean;
  /** Knocking finds it out too. */
  readonly knocked?: boolean;
  /** Why it cannot be tried on this machine. */
  readonly cannot?: string | null;
};

export type OtherSide = {
  /** A sink that delivers there and knows nothing of those made before, as in a new process. */
  readonly make: () => Sink;
  /** Everything the other side has accepted, in order, repetitions included. */
  readonly received: () => Promise<readonly Received[]>;
  /** What is not where it belongs: files outside, header fields nobody wrote, other recipients. */
  readonly strays: () => Promise<readonly string[]>;
  /** Breaks it; what is given back mends it again. */
  readonly break: (what: string) => Promise<() => Promise<void>>;
  readonly stop: () => Promise<void>;
};

export type Received = {
  /** What the other side can tell it by: another for another key. */
  readonly id: string;
  /** What it says, legible (decoded); the same at every try. */
  readonly text: string;
};

const never = new AbortController().signal;
const keyOf = (n: number) => `${MESSAGE}.${n}.sink`;
const SECRET_SUBJECT = "strictly confidential";
const lost = new Fault("spool.missing", "not there any more", { temporary: false });

export function sinkContract(implementation: SinkUnderTest): void {
  const { name, attachments, repeats, failures, silences, secrets } = implementation;

  async function start(): Promise<OtherSide> {
    const side = await implementation.start();
    onTestFinished(side.stop);
    return side;
  }

  /** What was received, once each: the other side can tell repetitions, and they say the same. */
  async function once(side: OtherSide): Promise<readonly string[]> {
    const received = await side.received();
    const texts = new Map<string, string>();
    for (const { id, text } of received) {
      expect(text).toBe(texts.get(id) ?? text);
      texts.set(id, text);
    }
    if (repeats === "kept") expect(received).toHaveLength(texts.size);
    return [...texts.values()];
  }

  function expectDiscreet(said: unknown): void {
    const { message, advice } = said instanceof Fault ? said : { message: JSON.stringify(said), advice: "" };
    for (const secret of [...secrets, SECRET_SUBJECT]) expect(`${message} ${advice}`).not.toContain(secret);
  }

  /** Aborted, a delivery may have arrived or not. What it must not do is fail for good. */
  async function expectEnd(attempt: Promise<unknown>): Promise<void> {
    const thrown = await attempt.then(
      () => null,
      (reason: unknown) => reason,
    );
    if (thrown instanceof Fault) expect(thrown).toMatchObject({ temporary: true, halts: false });
  }

  describe(`the role of a sink: ${name}`, () => {
    test("what is delivered is there when it resolves, and the receipt is short and plain", async () => {
      const side = await start();
      const receipt = await side.make().deliver(delivery(keyOf(1), { subject: "Rechnung 4711" }), keyOf(1), never);
      expect(await once(side)).toEqual([expect.stringContaining("Rechnung 4711")]);
      for (const value of Object.values(receipt)) expect(["string", "number", "boolean", "object"]).toContain(typeof value);
      expect(JSON.parse(JSON.stringify(receipt))).toEqual(receipt);
      expect(JSON.stringify(receipt).length).toBeLessThan(4_096);
      expect(receipt).not.toHaveProperty("skipped");
      expectDiscreet(receipt);
      expect(await side.strays()).toEqual([]);
    });

    test("a repeated key is harmless: at once, later, in a process that knows nothing, and at the same time", async () => {
      const side = await start();
      const given = delivery(keyOf(1), {
        subject: "a line separator \u2028 and a\r\nline break",
        attachments: [piece("2", "Rechnung.pdf", "pdf")],
        invoices: [{ number: "1" }, { number: "2" }],
      });
      const sink = side.make();
      await sink.deliver(given, keyOf(1), never);
      await sink.deliver(given, keyOf(1), never);
      await sink.deliver(delivery(keyOf(2)), keyOf(2), never);
      await sink.deliver(given, keyOf(1), never);
      const newcomers = [side.make(), side.make()];
      await Promise.all(newcomers.map((newcomer) => newcomer.deliver(given, keyOf(1), never)));
      expect(await once(side)).toHaveLength(2);
      expect(await side.strays()).toEqual([]);
    });

    test("30 at once all arrive, each once", async () => {
      const side = await start();
      const sinks = [side.make(), side.make()];
      await Promise.all(
        Array.from({ length: 30 }, (_, n) => sinks[n % 2]?.deliver(delivery(keyOf(n), { subject: `of ${n}.` }), keyOf(n), never)),
      );
      const texts = await once(side);
      expect(texts).toHaveLength(30);
      for (let n = 0; n < 30; n += 1) expect(texts.filter((text) => text.includes(`of ${n}.`))).toHaveLength(1);
    });

    test("a whole message, and what could not be read, are deliveries like any other", async () => {
      const side = await start();
      const fault = { code: "extend.unreadable", message: "the pages are blank" };
      const whole = deliveryOfMessage(keyOf(1), [
        { invoices: [{ number: "RE-1" }], attachments: [piece("2", "a.pdf", "one")] },
        { fault, attachments: [piece("3", "b.pdf", "two")] },
        { invoices: [{ number: "RE-3" }, { number: "RE-4" }], attachments: [piece("4", "a.pdf", "three")] },
      ]);
      await side.make().deliver(whole, keyOf(1), never);
      const [text, ...more] = await once(side);
      expect(more).toEqual([]);
      for (const said of ["RE-1", "RE-3", "RE-4", fault.message]) expect(text).toContain(said);
      await side.make().deliver(delivery(keyOf(2), { fault }), keyOf(2), never);
      expect(await once(side)).toHaveLength(2);
    });

    test.for(failures)("$what: temporary $temporary, and what is mended goes on", async (failure, { skip }) => {
      const { what, code, temporary, halts = false, taken = false, knocked = false, cannot = null } = failure;
      if (cannot !== null) return skip(cannot);
      const side = await start();
      const given = delivery(keyOf(1), { subject: SECRET_SUBJECT, attachments: [piece("2", "a.pdf", Buffer.alloc(200_000))] });
      const mend = await side.break(what);
      const thrown = await side
        .make()
        .deliver(given, keyOf(1), never)
        .catch((reason: unknown) => reason);
      expect(thrown).toBeInstanceOf(Fault);
      expect(thrown).toMatchObject({ code, temporary, halts });
      expectDiscreet(thrown);
      if (!taken) expect(await side.received()).toEqual([]);
      if (knocked) await expect(side.make().probe(never)).rejects.toBeInstanceOf(Fault);
      await mend();
      await side.make().deliver(given, keyOf(1), never);
      expect(await once(side)).toHaveLength(1);
      expect(await side.strays()).toEqual([]);
    });

    test("aborted before it begins, nothing is sent", async () => {
      const side = await start();
      const given = delivery(keyOf(1), { attachments: [piece("2", "a.pdf", "pdf")] });
      const attempt = side.make().deliver(given, keyOf(1), AbortSignal.abort(new Error("stopped")));
      await expect(attempt).rejects.toThrow();
      expect(await side.received()).toEqual([]);
      expect(await side.strays()).toEqual([]);
    });

    test("aborted at any moment, it ends, and the repetition arrives once and whole", async () => {
      const side = await start();
      const moments = Array.from({ length: 40 }, (_, n) => (n < 20 ? n : n * n - 380));
      for (const [n, turns] of moments.entries()) {
        const given = delivery(keyOf(n), { subject: `of ${n}.`, attachments: [piece("2", `${n}.pdf`, Buffer.alloc(100_000))] });
        const stop = new AbortController();
        const attempt = side.make().deliver(given, keyOf(n), stop.signal);
        const ended = expectEnd(attempt);
        for (let turn = 0; turn < turns; turn += 1) await setImmediate();
        stop.abort(new Error("stopped"));
        await ended;
        await side.make().deliver(given, keyOf(n), never);
      }
      expect(await once(side)).toHaveLength(moments.length);
      expect(await side.strays()).toEqual([]);
    });

    test.for(silences)("%s: aborted, it ends", async (what) => {
      const side = await start();
      const given = delivery(keyOf(1));
      const mend = await side.break(what);
      const stop = new AbortController();
      const ended = expectEnd(side.make().deliver(given, keyOf(1), stop.signal));
      for (let turn = 0; turn < 200; turn += 1) await setImmediate();
      stop.abort(new Error("stopped"));
      await ended;
      await mend();
      await side.make().deliver(given, keyOf(1), never);
      expect(await once(side)).toHaveLength(1);
    });

    test("an attachment that stops in the middle, or is lost, leaves nothing half", async () => {
      const side = await start();
      const whole = piece("2", "a.pdf", Buffer.alloc(300_000));
      const stop = new AbortController();
      const interrupted: Delivery = delivery(keyOf(1), { attachments: [{ ...whole, open: () => half(whole, () => stop.abort()) }] });
      await expectEnd(side.make().deliver(interrupted, keyOf(1), stop.signal));
      await side.make().deliver(delivery(keyOf(1), { attachments: [whole] }), keyOf(1), never);
      expect(await once(side)).toHaveLength(1);
      const fail = () => {
        throw lost;
      };
      const broken = delivery(keyOf(2), { attachments: [{ ...whole, id: "3", open: () => half(whole, fail) }] });
      const attempt = side.make().deliver(broken, keyOf(2), never);
      if (attachments) await expect(attempt).rejects.toMatchObject({ code: lost.code, temporary: false });
      else await attempt;
      expect(await once(side)).toHaveLength(attachments ? 1 : 2);
      expect(await side.strays()).toEqual([]);
    });

    test("whatever a mail or a service says stays in its place", async () => {
      const side = await start();
      const sink = side.make();
      let arrived = 0;
      for (const [n, [what, value]] of hostile.entries()) {
        const given = delivery(keyOf(n), {
          subject: value,
          from: value,
          messageId: value,
          data: { total: value },
          invoices: [
            { number: value || null, iban: value || null, currency: value || null, seller: { name: value || null, vatId: value } },
          ],
          attachments: [{ ...piece("2", value, what), contentType: value }, piece(value, "b.pdf", "b")],
        });
        expect(sink.destination(given), what).toMatch(/^[^\p{Cc}]+$/u);
        const receipt = await sink.deliver(given, keyOf(n), never).catch((thrown: unknown) => {
          // It may be refused, but not for ever tried again.
          expect(thrown, what).toMatchObject({ temporary: false, halts: false });
        });
        if (receipt !== undefined && !("skipped" in receipt)) arrived += 1;
        expect(await side.strays(), what).toEqual([]);
      }
      expect(await once(side)).toHaveLength(arrived);
      expect(arrived).toBeGreaterThan(hostile.length / 2);
    });

    test("it says where a delivery would go, and knocks, and nothing arrives", async () => {
      const side = await start();
      const sink = side.make();
      const where = sink.destination(delivery(keyOf(1)));
      expect(where).toMatch(/^.+$/);
      expect(sink.destination(delivery(keyOf(1)))).toBe(where);
      expectDiscreet(where);
      expect(await sink.probe(never)).toEqual({ said: expect.stringMatching(/^.+$/) });
      expect(await side.received()).toEqual([]);
      expect(await side.strays()).toEqual([]);
    });
  });
}

/** Half of the bytes, then what happens in the middle, then the rest. */
async function* half(whole: Delivery["raw"], happens: () => void): AsyncGenerator<Uint8Array> {
  let left = whole.size / 2;
  for await (const chunk of whole.open()) {
    yield chunk;
    left -= chunk.length;
    if (left <= 0) happens();
  }
}
