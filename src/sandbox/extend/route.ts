/** How a call to the Extend half finds who does it. */
import type { Asked, Reply } from "../exchange.ts";
import type { Call, FaultNow } from "../faults.ts";

/** `id` is what stands at `:id` in the path. */
export type Ask = Asked & { readonly id: string; readonly body: Uint8Array<ArrayBuffer>; readonly fault: FaultNow | null };

/** `asks` is a method and a path, as `GET /files/:id`. */
export type Route = { readonly call: Call; readonly asks: string; readonly act: (asked: Ask) => Reply | Promise<Reply> };

/** Below it, things open by their signature. */
export const SIGNED = "/_signed";

/** What stands at `:id`, empty where there is none; null when it is not what the route asks for. */
export function idIn(asks: string, asked: string): string | null {
  const [before = "", after = ""] = asks.split(":id");
  if (!asks.includes(":id")) return asks === asked ? "" : null;
  if (!asked.startsWith(before) || !asked.endsWith(after)) return null;
  const id = asked.slice(before.length, asked.length - after.length);
  return /^[\w-]+$/.test(id) ? id : null;
}
