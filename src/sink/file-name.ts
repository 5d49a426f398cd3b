/** File names from a template: whatever the values are, the result is a relative path that stays below its directory. */
import { safeSegment } from "../base/files.ts";
import { type Delivered, entriesOf } from "./delivery.ts";

/** `{{name}}`, `{{data.total}}`, `{{data.invoices.0.number}}`. */
const PLACEHOLDER = /\{\{\s*([A-Za-z]+(?:\.[A-Za-z0-9_-]+)*)\s*\}\}/g;

/** The path of a delivery, relative, with `/` between its segments. The same delivery always gets the same path. */
export function fileName(template: string, delivered: Delivered): string {
  return template
    .split("/")
    .filter((segment) => segment !== "")
    .map((segment) => safeSegment(segment.replace(PLACEHOLDER, (_, name: string) => safeSegment(textOf(name, delivered)))))
    .join("/");
}

function textOf(name: string, delivered: Delivered): string {
  const { message } = delivered;
  const [entry] = entriesOf(delivered);
  switch (name) {
    case "message":
      return message.id.slice(0, 16);
    case "position":
      return String(entry?.document.position ?? "");
    case "document":
      return entry?.document.id ?? "";
    case "mailbox":
      return message.mailbox;
    case "date":
      return message.date?.slice(0, 10) ?? "undated";
    case "subject":
      return message.subject ?? "";
    case "from":
      return message.from[0]?.address ?? "";
    case "messageId":
      return message.messageId ?? "";
    default:
      return textAt(entry?.data, name.split(".").slice(1));
  }
}

function textAt(data: unknown, path: readonly string[]): string {
  let value = data;
  for (const key of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return "";
    value = (value as Record<string, unknown>)[key];
  }
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}
