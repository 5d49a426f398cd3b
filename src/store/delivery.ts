/** What a delivery is called, and what its task remembers of what it tells: pure. */
import type { TaskMemo } from "./record.ts";

/** What a delivery tells of, a document or a whole message, and to whom; `time` is 2 when it is told for the second time, under another key. */
export type DeliveryName = { readonly of: string; readonly sink: string; readonly time: number };

/** The key of a delivery, the same at every try: `<message>.<position>.<sink>` or `<message>.<sink>`, with `~2` for the second time. */
export function deliveryKey({ of, sink, time }: DeliveryName): string {
  return `${of}.${sink}${time === 1 ? "" : `~${time}`}`;
}

export function deliveryNameOf(key: string): DeliveryName {
  const [plain = "", time = "1"] = key.split("~");
  const dot = plain.lastIndexOf(".");
  return { of: plain.slice(0, dot), sink: plain.slice(dot + 1), time: Number(time) };
}

/**
 * What a delivery tells, decided when its task was made and the same at every try: the positions of the documents that were read, and why
 * the others were not. null for a task of an older version, which tells what is there.
 */
export type Telling = {
  readonly read: readonly number[];
  readonly faults: { readonly [position: string]: { readonly code: string; readonly message: string } };
};

const READ = "read";
const FAULTS = "faults";

export function tellingMemo({ read, faults }: Telling): TaskMemo {
  return { [READ]: read.join(","), ...(Object.keys(faults).length === 0 ? {} : { [FAULTS]: JSON.stringify(faults) }) };
}

export function tellingOf(memo: TaskMemo | null): Telling | null {
  const read = memo?.[READ];
  if (typeof read !== "string") return null;
  const faults = memo?.[FAULTS];
  return {
    read: read === "" ? [] : read.split(",").map(Number),
    faults: typeof faults === "string" ? (JSON.parse(faults) as Telling["faults"]) : {},
  };
}

/** 0 for a whole message. */
export function positionOf(of: string): number {
  const dot = of.lastIndexOf(".");
  return dot === -1 ? 0 : Number(of.slice(dot + 1));
}
