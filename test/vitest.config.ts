/** How the tests run: files one by one in processes of their own, real servers, no retries. */
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** What waits for real processes and real time is begun first, so that no long file is left alone at the end. */
class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isSlow = ({ moduleId }: TestSpecification) => /\/test\/(crash|world|faults|e2e|signin|cli)\//.test(moduleId);
    return [...sorted.filter(isSlow), ...sorted.filter((file) => !isSlow(file))];
  }
}

// Billhook is started by the hundred: what it loads is compiled once, and each start costs half.
process.env.NODE_COMPILE_CACHE ??= new URL("../node_modules/.cache/compiled", import.meta.url).pathname;

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    // Campaigns that wait for minutes of real time run by `npm run test:money`.
    include: process.env.BILLHOOK_LONG === undefined ? ["test/**/*.test.ts"] : ["test/crash/*.{test,long}.ts"],
    pool: "forks",
    maxWorkers: 3,
    sequence: { sequencer: SlowFirst },
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: ["default"],
  },
});
