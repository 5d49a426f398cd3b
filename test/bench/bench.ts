/** Runs one benchmark by name, or all of them: `npm run bench [-- soak --minutes 1]`. Figures are printed; only what must fit a bound exits with 1 above it. */
import { spawnSync } from "node:child_process";

const ALL: Readonly<Record<string, readonly string[]>> = {
  split: ["split.ts"],
  upload: ["upload.ts"],
  extract: ["memory.ts", "polling.ts"],
  idle: ["idle.ts"],
  fetch: ["fetch.ts"],
  folders: ["folders.ts"],
  soak: ["soak.ts"],
};

// What follows the first option is for the benchmark itself: `soak --minutes 1`.
const words = process.argv.slice(2);
const named = words.slice(0, words.findIndex((word) => word.startsWith("--")) >>> 0);
const options = words.slice(named.length);
const wanted = named.length > 0 ? named : Object.keys(ALL);
for (const name of wanted) {
  const files = ALL[name];
  if (files === undefined) {
    console.error(`there is no benchmark ${name}; there are: ${Object.keys(ALL).join(", ")}`);
    process.exit(2);
  }
  console.log(`# ${name}`);
  for (const file of files) {
    const { status } = spawnSync(process.execPath, [new URL(file, import.meta.url).pathname, ...options], { stdio: "inherit" });
    if (status !== 0) process.exitCode = 1;
  }
}
