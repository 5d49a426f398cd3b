/** Programs of Debian that the tests run, installed where that is possible. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Wanted = {
  /** For people. */
  readonly name: string;
  /** Each file shows that its package is there. */
  readonly packages: Readonly<Record<string, string>>;
  /** Why it must be root who runs the tests; anybody may when left out. */
  readonly asRoot?: string;
};

const ENVIRONMENT = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
const isRoot = process.getuid?.() === 0;

/** One after the other, whichever test file asks: apt waits for the lock of its packages, and not for that of its lists. */
function apt(...words: readonly string[]): void {
  const lock = join(tmpdir(), "billhook-apt.lock");
  execFileSync("flock", [lock, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", ...words], { env: ENVIRONMENT, stdio: "pipe" });
}

/** Null when it can be started here; otherwise why not, for the name of the skipped suite. In CI a missing one is a failure. */
export function required({ name, packages, asRoot }: Wanted): string | null {
  const wanted = Object.keys(packages);
  const missing = () => Object.entries(packages).flatMap(([one, file]) => (existsSync(file) ? [] : [one]));
  const install = `apt-get update && apt-get install -y --no-install-recommends ${wanted.join(" ")}`;
  return outcome(name, install, asRoot, missing, () => {
    apt("update");
    if (missing().length > 0) apt("install", "-y", "--no-install-recommends", ...missing());
  });
}

/** The same for files of a package that cannot be installed beside another one: they are only unpacked. */
export function unpacked(name: string, wanted: string, directory: string, files: readonly string[]): string | null {
  const missing = () => files.filter((file) => !existsSync(join(directory, file)));
  return outcome(name, `dpkg-deb -x of ${wanted} into ${directory}`, undefined, missing, () => {
    const made = mkdtempSync(join(tmpdir(), "billhook-debian-"));
    try {
      apt("update");
      if (missing().length === 0) return;
      execFileSync("apt-get", ["-q", "download", wanted], { cwd: made, env: ENVIRONMENT, stdio: "pipe" });
      execFileSync("sh", ["-c", "dpkg-deb -x *.deb files"], { cwd: made, stdio: "pipe" });
      rmSync(directory, { recursive: true, force: true });
      renameSync(join(made, "files"), directory);
    } finally {
      rmSync(made, { recursive: true, force: true });
    }
  });
}

function outcome(
  name: string,
  install: string,
  asRoot: string | undefined,
  missing: () => readonly string[],
  have: () => void,
): string | null {
  let reason = asRoot ?? "not root";
  if (missing().length === 0 && (isRoot || asRoot === undefined)) return null;
  if (isRoot) {
    try {
      have();
    } catch (thrown) {
      reason = String(thrown).split("\n")[0] ?? "it failed";
    }
    // Another test file may have been quicker.
    if (missing().length === 0) return null;
  }
  const sentence = `${name} is missing and cannot be installed (${reason}); run as root: ${install}`;
  if (process.env.CI === "true") throw new Error(sentence);
  console.warn(sentence);
  return sentence;
}
