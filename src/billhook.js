#!/usr/bin/env -S MALLOC_ARENA_MAX=2 node --max-semi-space-size=4 --optimize-for-size --liftoff-only --no-incremental-marking
/** The `billhook` command, in plain JavaScript: says in one line if Node is too old, before anything newer is read. */
const major = Number(process.versions.node.split(".")[0]);
// In a checkout the TypeScript runs as it is; in the published package it has been compiled beside this file.
const entry = import.meta.url.endsWith("/src/billhook.js") ? "./main.ts" : "./main.js";

if (major < 24) {
  console.error(
    `billhook needs Node 24 or newer; this is Node ${process.versions.node}. Install Node 24 (https://nodejs.org) or use the container.`,
  );
  process.exitCode = 2;
} else {
  import(new URL(entry, import.meta.url).href).then(
    (main) => main.main(process.argv.slice(2)),
    (thrown) => {
      console.error(thrown);
      process.exitCode = 1;
    },
  );
}
