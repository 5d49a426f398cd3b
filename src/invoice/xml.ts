/** XML as plain elements: the one door to fast-xml-parser; no entity is expanded, no namespace fetched, no depth trusted. */
import { XMLParser } from "fast-xml-parser";
import { permanent } from "../base/errors.ts";
import { decodeText } from "./decode.ts";

export type XmlElement = {
  /** Without the namespace prefix. */
  readonly name: string;
  /** By name as written, prefix included. */
  readonly attributes: Readonly<Record<string, string>>;
  /** The character data directly inside, white space collapsed. */
  readonly text: string;
  readonly children: readonly XmlElement[];
};

export type XmlRoot = {
  /** As written: `ubl:Invoice`. */
  readonly rawName: string;
  readonly name: string;
  /** Null when none is declared for the root's prefix. */
  readonly namespace: string | null;
  /** Where it begins in the text. */
  readonly start: number;
};

const MOST_BYTES = 20 * 1024 * 1024;
/** About 8,000 invoice lines; a parsed element costs some 400 bytes of memory. */
const MOST_TAGS = 1_000_000;
const DEEPEST = 100;
const LONGEST_ROOT_TAG = 16_384;

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: "",
  parseTagValue: false,
  parseAttributeValue: false,
  // Predefined and numeric entities are decoded below; no others.
  processEntities: false,
  trimValues: false,
  cdataPropName: "#cdata",
  ignoreDeclaration: true,
  ignorePiTags: true,
  maxNestedTags: DEEPEST,
});

/** The document's text by its byte order mark or its XML declaration. Throws a Fault when it is larger than an invoice can be. */
export function xmlText(bytes: Uint8Array): string {
  if (bytes.length > MOST_BYTES) throw tooLarge();
  const start = new TextDecoder("latin1").decode(bytes.subarray(0, 256));
  return decodeText(bytes, /^\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([\w.:-]+)["']/.exec(start)?.[1] ?? null);
}

/** The root element's name without parsing what is in it; null when the text does not start as XML does. */
export function xmlRoot(text: string): XmlRoot | null {
  const start = afterProlog(text);
  if (start === null) return null;
  const end = text.indexOf(">", start);
  const tag = text.slice(start, Math.min(end === -1 ? text.length : end, start + LONGEST_ROOT_TAG));
  const rawName = /^<([\p{L}_][\p{L}\p{N}_.:-]*)/u.exec(tag)?.[1];
  if (rawName === undefined) return null;
  const colon = rawName.indexOf(":");
  const prefix = colon === -1 ? undefined : rawName.slice(0, colon);
  let namespace: string | null = null;
  for (const match of tag.matchAll(/\sxmlns(?::([^\s=:]+))?\s?=\s?(?:"([^"]*)"|'([^']*)')/g)) {
    if (match[1] === prefix) namespace = match[2] ?? match[3] ?? null;
  }
  return { rawName, name: rawName.slice(colon + 1), namespace, start };
}

/** Where the root element starts: behind white space, the declaration, comments and a DOCTYPE. */
function afterProlog(text: string): number | null {
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  for (;;) {
    while (/\s/.test(text.charAt(at))) at += 1;
    if (text.charAt(at) !== "<") return null;
    let end: number;
    if (text.startsWith("<?", at)) end = after(text, "?>", at);
    else if (text.startsWith("<!--", at)) end = after(text, "-->", at + 4);
    else if (text.startsWith("<!DOCTYPE", at)) end = afterDoctype(text, at);
    else return at;
    if (end === -1) return null;
    at = end;
  }
}

function after(text: string, mark: string, from: number): number {
  const found = text.indexOf(mark, from);
  return found === -1 ? -1 : found + mark.length;
}

function afterDoctype(text: string, from: number): number {
  const subset = text.indexOf("[", from);
  const end = text.indexOf(">", from);
  if (subset === -1 || (end !== -1 && end < subset)) return end === -1 ? -1 : end + 1;
  const close = text.indexOf("]", subset);
  return close === -1 ? -1 : after(text, ">", close);
}

/** The root element with all in it. Throws a permanent Fault (`invoice.damaged`, `invoice.too-large`) when it is cut off or not XML. */
export function parseXml(text: string, root: XmlRoot): XmlElement {
  // The parser closes what was left open, so a document that was cut off has to be found here.
  const close = text.lastIndexOf(`</${root.rawName}`);
  if (close === -1 || !/^\s*>/.test(text.slice(close + root.rawName.length + 2, close + root.rawName.length + 100))) {
    throw damaged(`it does not end with </${root.rawName}>`);
  }
  if (count(text, "<", MOST_TAGS) === MOST_TAGS) throw tooLarge();
  let nodes: unknown;
  try {
    // A DOCTYPE and what it defines stay outside.
    nodes = parser.parse(text.slice(root.start));
  } catch (thrown) {
    // The parser's own words may quote the document.
    throw damaged("it is not well-formed XML, or nested too deep", thrown);
  }
  const found = elementsOf(nodes).find((element) => element.name === root.name);
  if (found === undefined) throw damaged(`it has no element ${root.rawName}`);
  return found;
}

function count(text: string, character: string, most: number): number {
  let found = 0;
  for (let at = text.indexOf(character); at !== -1 && found < most; at = text.indexOf(character, at + 1)) found += 1;
  return found;
}

function damaged(why: string, cause?: unknown) {
  return permanent("invoice.damaged", `The XML invoice cannot be read: ${why}.`, "Ask the sender for the invoice again.", cause);
}

function tooLarge() {
  return permanent("invoice.too-large", `The XML invoice is larger than ${MOST_BYTES / 1024 / 1024} MB or ${MOST_TAGS} tags.`);
}

/** What `preserveOrder` gives: a list of objects with one key for the tag, and `:@` for its attributes. */
type Node = { readonly [key: string]: unknown };

function nodesOf(value: unknown): readonly Node[] {
  return Array.isArray(value) ? value.filter((node): node is Node => typeof node === "object" && node !== null) : [];
}

function elementsOf(value: unknown): XmlElement[] {
  const elements: XmlElement[] = [];
  for (const node of nodesOf(value)) {
    const tag = Object.keys(node).find((key) => key !== ":@" && !key.startsWith("#"));
    if (tag === undefined) continue;
    const name = tag.slice(tag.indexOf(":") + 1);
    elements.push({ name, attributes: attributesOf(node[":@"]), text: collapse(textOf(node[tag])), children: elementsOf(node[tag]) });
  }
  return elements;
}

function textOf(value: unknown): string {
  let text = "";
  for (const node of nodesOf(value)) {
    if (typeof node["#text"] === "string") text += decodeEntities(node["#text"]);
    else if (node["#cdata"] !== undefined) for (const part of nodesOf(node["#cdata"])) text += String(part["#text"] ?? "");
  }
  return text;
}

function attributesOf(value: unknown): Readonly<Record<string, string>> {
  const attributes: Record<string, string> = Object.create(null);
  if (typeof value !== "object" || value === null) return attributes;
  for (const [name, content] of Object.entries(value)) attributes[name] = collapse(decodeEntities(String(content)));
  return attributes;
}

const PREDEFINED: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function decodeEntities(text: string): string {
  return text.replace(/&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9a-fA-F]{1,6}));/g, (_, name, decimal, hexadecimal) => {
    if (name !== undefined) return PREDEFINED[name] ?? "";
    const code = decimal === undefined ? Number.parseInt(hexadecimal, 16) : Number(decimal);
    return code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? "\ufffd" : String.fromCodePoint(code);
  });
}

function collapse(text: string): string {
  return text.replace(/[\s\p{Cc}]+/gu, " ").trim();
}

/** The elements at the end of a path; a step may name alternatives: `A|B`. */
export function all(from: XmlElement, ...path: readonly string[]): readonly XmlElement[] {
  let found: readonly XmlElement[] = [from];
  for (const step of path) {
    const names = step.split("|");
    found = found.flatMap((element) => element.children.filter((child) => names.includes(child.name)));
  }
  return found;
}

/** The text of the first element at the end of a path that has any. */
export function textAt(from: XmlElement, ...path: readonly string[]): string | null {
  return all(from, ...path).find((element) => element.text !== "")?.text ?? null;
}
