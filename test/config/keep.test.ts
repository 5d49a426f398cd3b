/** How long things are kept, as it is written and as the daemon is given it. */
import { expect, test } from "vitest";
import { keepsNothing } from "../../src/config/keep.ts";
import { readConfig } from "../../src/config/load.ts";

const DAY = 86_400_000;
const REST = `
mailboxes: { invoices: { host: imap.example.com, user: invoices@example.com, password: x } }
services: { cloudsquid: { kind: cloudsquid, apiKey: y, project: Accounts Payable, table: 3c90c3cc-0d44-4b50-8888-8dd25736052a } }
sinks: { files: { kind: file, directory: ./out } }
`;

function keep(written: string) {
  const reading = readConfig(`${written}${REST}`, { path: "/etc/billhook/config.yaml", env: {}, readFile: () => "" });
  if ("problems" in reading) throw new Error(JSON.stringify(reading.problems));
  return reading.config.keep;
}

const forever = { raw: null, parts: null, results: null, events: null };

test.each([
  ["", forever, false],
  ["keep: {}", forever, false],
  ["keep: { raw: 30d, results: forever, events: 400d }", { ...forever, raw: 30 * DAY, events: 400 * DAY }, false],
  ["keep: { raw: 90s, parts: none, events: 1h }", { raw: 90_000, parts: 0, results: null, events: DAY / 24 }, false],
  ["keep: none", { raw: 0, parts: 0, results: 0, events: DAY }, true],
  ["keep: { raw: none, parts: none, results: none }", { raw: 0, parts: 0, results: 0, events: null }, true],
])("%s", (written, expected, nothing) => {
  expect(keep(written)).toEqual(expected);
  expect(keepsNothing(keep(written))).toBe(nothing);
});
