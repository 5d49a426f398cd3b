/** Runs one benchmark by name, or all of them: `npm run bench [-- split]`. Figures are printed, never asserted. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";

const here = new URL(".", import.meta.url);
const all = readdirSync(here)
  .filter((name) => name.endsWith(".ts") && name !== "bench.ts")
  .map((name) => name.slice(0, -3));
const wanted = process.argv.length > 2 ? process.argv.slice(2) : all;
for (const name of wanted) {
  if (!all.includes(name)) {
    console.error(`there is no benchmark ${name}; there are: ${all.join(", ")}`);
    process.exit(2);
  }
  console.log(`# ${name}`);
  const { status } = spawnSync(process.execPath, [new URL(`${name}.ts`, here).pathname], { stdio: "inherit" });
  if (status !== 0) process.exitCode = 1;
}
