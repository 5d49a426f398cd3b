/** Runs one benchmark by name, or all of them: `npm run bench [-- extract]`. Figures are printed, never asserted. */
import { spawnSync } from "node:child_process";

const ALL: Readonly<Record<string, readonly string[]>> = {
  split: ["split.ts"],
  upload: ["upload.ts"],
  extract: ["memory.ts", "polling.ts"],
};

const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(ALL);
for (const name of wanted) {
  const files = ALL[name];
  if (files === undefined) {
    console.error(`there is no benchmark ${name}; there are: ${Object.keys(ALL).join(", ")}`);
    process.exit(2);
  }
  console.log(`# ${name}`);
  for (const file of files) {
    const { status } = spawnSync(process.execPath, [new URL(file, import.meta.url).pathname], { stdio: "inherit" });
    if (status !== 0) process.exitCode = 1;
  }
}
