/** Evaluates the owner's expressions in a thread of its own: one that never ends, or eats all memory, costs its own term and nothing else. */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { Found, Work, WorkPost } from "./worker.ts";

const LOOK_EVERY_MS = 100;
const MOST_LOOKS_TO_START = 150;
/** For one expression over all its inputs. */
const MOST_LOOKS = 20;

/** By key; an expression that had to be stopped is not in it. Never rejects. */
export async function evaluateAll(work: Work): Promise<ReadonlyMap<string, Found>> {
  const found = new Map<string, Found>();
  let left = work.expressions;
  while (left.length > 0 && work.inputs.length > 0) {
    const posts = await ask({ ...work, expressions: left });
    for (const post of posts) if (post.is === "done") found.set(post.key, post.found);
    if (posts.length === 0) break;
    // They are done in order: the first that gave nothing is the one that was stopped.
    left = left.filter(([key]) => !found.has(key)).slice(1);
  }
  return found;
}

/** All the thread posted until it ended, failed or was stopped. */
function ask(work: Work): Promise<readonly WorkPost[]> {
  return new Promise((resolve) => {
    // Built, this file and the worker both end in .js.
    const worker = new Worker(new URL(`./worker${extname(import.meta.url)}`, import.meta.url), {
      workerData: work,
      resourceLimits: { maxOldGenerationSizeMb: 256 },
      execArgv: [],
      env: {},
    });
    const posts: WorkPost[] = [];
    let looks = MOST_LOOKS_TO_START;
    // Looks, not a deadline: while this thread is busy the other's posts wait too.
    const look = setInterval(() => {
      looks -= 1;
      if (looks < 0) void worker.terminate();
    }, LOOK_EVERY_MS);
    worker.on("message", (post: WorkPost) => {
      posts.push(post);
      looks = MOST_LOOKS;
    });
    // Out of memory: what it did not post tells which expression it was.
    worker.on("error", () => {});
    worker.on("exit", () => {
      clearInterval(look);
      resolve(posts);
    });
  });
}
