/** The two files made from the schema say what the schema says now. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { jsonSchema, reference } from "../../src/config/document.ts";

const read = (name: string) => readFileSync(new URL(`../../config/${name}`, import.meta.url), "utf8");

test("config/config.schema.json is fresh", () => {
  expect(read("config.schema.json") === jsonSchema(), "config/config.schema.json is stale: run `npm run generate`").toBe(true);
});

test("config/reference.md is fresh", () => {
  expect(read("reference.md") === reference(), "config/reference.md is stale: run `npm run generate`").toBe(true);
});

test("every key is described", () => {
  const rows = reference()
    .split("\n")
    .filter((row) => row.startsWith("| `"));
  expect(rows.length).toBeGreaterThan(40);
  expect(rows.filter((row) => / \|\s*\|$/.test(row) || row.split(" | ")[1] === "")).toEqual([]);
});
