/** A real Chromium, Debian's own, driven by playwright-core: pages as people see them, and what the browser complains of. */
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { required } from "./debian.ts";

export type Tab = {
  readonly context: BrowserContext;
  readonly page: Page;
  /** What the console was told (warnings and errors, refusals by policy among them), what was thrown, and which dialogs came up. */
  readonly complaints: readonly string[];
};

export type Chromium = {
  readonly browser: Browser;
  /** A browser of a person: own cookies, one tab. */
  readonly open: (options?: BrowserContextOptions) => Promise<Tab>;
  readonly stop: () => Promise<void>;
};

const BINARY = "/usr/bin/chromium";

/** Null when Chromium can be started here; otherwise why not, for the name of the skipped suite. Installs it where that is possible. */
export function requireChromium(): string | null {
  return required({ name: "Chromium", packages: { chromium: BINARY } });
}

/** `hosts`: names that lead to this machine. */
export async function startChromium(hosts: readonly string[] = []): Promise<Chromium> {
  // Its sandbox cannot be had as root.
  const asRoot = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  const resolving = hosts.length === 0 ? [] : [`--host-resolver-rules=${hosts.map((name) => `MAP ${name} 127.0.0.1`).join(", ")}`];
  const browser = await chromium.launch({ executablePath: BINARY, args: [...asRoot, ...resolving, "--disable-dev-shm-usage"] });
  return {
    browser,
    open: async (options = {}) => {
      const context = await browser.newContext(options);
      const page = await context.newPage();
      const complaints: string[] = [];
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) complaints.push(message.text());
      });
      page.on("pageerror", (thrown) => void complaints.push(String(thrown)));
      page.on("dialog", (dialog) => {
        complaints.push(`a dialog: ${dialog.message()}`);
        void dialog.dismiss();
      });
      return { context, page, complaints };
    },
    stop: () => browser.close(),
  };
}
