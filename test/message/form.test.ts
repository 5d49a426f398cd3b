/** Forms: what Node's own reader makes of them, their announced length, and names that cannot leave their line. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type FormField, formOf } from "../../src/message/form.ts";
import { hostile } from "../sink/hostile.ts";

function field(name: string, filename: string | null, content: string | Uint8Array, contentType = "application/pdf"): FormField {
  const bytes = Buffer.from(content);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { name, filename, contentType, size: bytes.length, sha256, open: () => [bytes.subarray(0, 3), bytes.subarray(3)] };
}

async function madeOf(fields: readonly FormField[]): Promise<Buffer> {
  const form = formOf(fields);
  const chunks: Uint8Array[] = [];
  for await (const chunk of form.open()) chunks.push(chunk);
  const made = Buffer.concat(chunks);
  expect(made.length).toBe(form.length);
  return made;
}

async function readBack(fields: readonly FormField[]): Promise<readonly (readonly [string, string | File])[]> {
  const headers = { "content-type": formOf(fields).contentType };
  const form = await new Response(new Uint8Array(await madeOf(fields)), { headers }).formData();
  return [...form.entries()] as (readonly [string, string | File])[];
}

test("is what Node's own FormData makes, of exactly the length it says, and the same each time", async () => {
  const bytes = Buffer.from("\r\n--x\0\xff--\r\n", "latin1");
  const fields = [
    field("file", "a b.pdf", bytes, "application/octet-stream"),
    field("more", "ü.xml", "<a/>", "text/xml"),
    field("none", "0", ""),
  ];
  const reference = new FormData();
  reference.append("file", new Blob([bytes]), "a b.pdf");
  reference.append("more", new Blob(["<a/>"], { type: "text/xml" }), "ü.xml");
  reference.append("none", new Blob([], { type: "application/pdf" }), "0");
  const response = new Response(reference);
  const theirs = /boundary=(.+)$/.exec(response.headers.get("content-type") ?? "")?.[1] ?? "";
  const ours = /boundary=(.+)$/.exec(formOf(fields).contentType)?.[1] ?? "";
  expect(ours).toMatch(/^[0-9a-f]{64}$/);
  const expected = Buffer.from(await response.arrayBuffer())
    .toString("latin1")
    .replaceAll(theirs, ours);
  expect((await madeOf(fields)).toString("latin1")).toBe(expected);
  expect(await madeOf(fields)).toEqual(await madeOf(fields));
  expect(formOf(fields.slice(1)).contentType).not.toBe(formOf(fields).contentType);
});

test("a field that is no file, and a form without fields", async () => {
  expect(await readBack([field("delivery", null, '{"ü":1}', "application/json")])).toEqual([["delivery", '{"ü":1}']]);
  expect((await madeOf([])).toString()).toMatch(/^--[0-9a-f]{64}--\r\n$/);
});

describe("whatever a name or a type holds, there are as many fields as were given, and each holds its own bytes", () => {
  test.each(hostile)("%s", async (_, value) => {
    const read = await readBack([field(value, value, "one", value), field("last", "last.pdf", "two")]);
    expect(read).toHaveLength(2);
    const [first, last] = read.map(([name, file]) => ({ name, file: file as File }));
    expect(first?.name).toMatch(/^[\w.-]{0,100}$/);
    expect(first?.file.name).toMatch(/^[^\p{Cc}"\\/]{1,300}$/u);
    expect(first?.file.type).toMatch(/^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/);
    expect(await first?.file.text()).toBe("one");
    expect([last?.name, last?.file.name, await last?.file.text()]).toEqual(["last", "last.pdf", "two"]);
  });
});
