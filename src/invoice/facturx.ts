/** Opens a PDF in a thread of its own, within limits of time and memory, for the invoice embedded in it (Factur-X, ZUGFeRD) and its text. */
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { type Fault, permanent } from "../base/errors.ts";
import type { PdfFile, PdfPost } from "./pdf-worker.ts";

export type Pdf = {
  /** The embedded XML files, the names Factur-X and ZUGFeRD prescribe first. */
  readonly files: readonly PdfFile[];
  readonly text: string;
  /** True when time or memory ran out before all of it was read. */
  readonly stopped: boolean;
};

const MOST_BYTES = 32 * 1024 * 1024;
const MOST_MEMORY = 512 * 1024 * 1024;
const LOOK_EVERY_MS = 100;
const MOST_LOOKS = 200;
const PREFERRED = ["factur-x.xml", "zugferd-invoice.xml", "xrechnung.xml"];

/**
 * What a PDF holds. Each call is one thread, gone when this settles: callers limit how many run at a time.
 * A PDF that opens but then takes too long or too much gives what was found until then.
 * Throws a permanent Fault: `invoice.too-large`, `invoice.locked` (a password), `invoice.damaged` (does not open).
 */
export async function openPdf(bytes: Uint8Array): Promise<Pdf> {
  if (bytes.length > MOST_BYTES) throw permanent("invoice.too-large", `The PDF is larger than ${MOST_BYTES / 1024 / 1024} MB.`);
  const { said, stopped } = await ask(bytes);
  const files = said.filter((post) => post.is === "file").map((post) => post.file);
  if (!said.some((post) => post.is === "opened")) {
    throw stopped ? exhausting() : unopened(said.some((post) => post.is === "refused" && post.why === "locked"));
  }
  return {
    files: files.sort((a, b) => rank(a.name) - rank(b.name)),
    text: said
      .filter((post) => post.is === "page")
      .map((post) => post.text)
      .join("\n"),
    stopped,
  };
}

function rank(name: string): number {
  const at = PREFERRED.indexOf(name.toLowerCase());
  return at === -1 ? PREFERRED.length : at;
}

/** For a PDF that was stopped before an invoice was found in it. */
export function exhausting(): Fault {
  const limits = `${(MOST_LOOKS * LOOK_EVERY_MS) / 1000} s or ${MOST_MEMORY / 1024 / 1024} MB of memory`;
  return permanent("invoice.too-large", `Reading the PDF takes more than ${limits}.`, "Look at the PDF by hand; it may be hostile.");
}

function unopened(locked: boolean): Fault {
  return locked
    ? permanent("invoice.locked", "The PDF needs a password to open.", "Ask the sender for the invoice without a password.")
    : permanent("invoice.damaged", "The PDF cannot be opened: it is damaged.", "Ask the sender for the invoice again.");
}

/** All the worker posted until it ended, failed or was stopped. Never rejects. */
function ask(bytes: Uint8Array): Promise<{ readonly said: readonly PdfPost[]; readonly stopped: boolean }> {
  return new Promise((resolve) => {
    // Built, this file and the worker both end in .js.
    const worker = new Worker(new URL(`./pdf-worker${extname(import.meta.url)}`, import.meta.url), {
      workerData: new Uint8Array(bytes),
      resourceLimits: { maxOldGenerationSizeMb: 256 },
      execArgv: [],
      env: {},
      stdout: true,
      stderr: true,
    });
    worker.stdout.resume();
    worker.stderr.resume();
    const said: PdfPost[] = [];
    let looks = 0;
    let stopped = false;
    const stop = () => {
      stopped = true;
      void worker.terminate();
    };
    const look = setInterval(() => {
      looks += 1;
      if (looks > MOST_LOOKS) stop();
      // A decompression bomb grows outside the heap, where resourceLimits does not reach.
      worker.getHeapStatistics().then(
        (heap) => {
          if (heap.external_memory + heap.total_heap_size > MOST_MEMORY) stop();
        },
        () => {},
      );
    }, LOOK_EVERY_MS);
    worker.on("message", (post: PdfPost) => said.push(post));
    // Its own heap limit ends the worker with this error; any other is a bug of the PDF library.
    worker.on("error", (thrown) => {
      stopped ||= (thrown as NodeJS.ErrnoException).code === "ERR_WORKER_OUT_OF_MEMORY";
    });
    worker.on("exit", () => {
      clearInterval(look);
      resolve({ said, stopped });
    });
  });
}
