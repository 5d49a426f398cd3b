/** References in a scalar: `${NAME}` is an environment variable, `${file:PATH}` a file's content, `$${` a literal `${`. */
import { reasonOf } from "../base/errors.ts";

export type Surroundings = {
  readonly env: { readonly [name: string]: string | undefined };
  /** The text of a file; the path is relative to the configuration's directory. Throws what node:fs throws. */
  readonly readFile: (path: string) => string;
};

export type Filled = {
  readonly text: string;
  /** The references as they were written, in order; what they stand for is never shown. */
  readonly references: readonly string[];
  /** A sentence for each reference that could not be followed. */
  readonly faults: readonly string[];
};

/** Replaces every reference once; what they bring in is not looked at again. */
export function fill(text: string, surroundings: Surroundings): Filled {
  const references: string[] = [];
  const faults: string[] = [];
  const filled = text.replace(/\$\$\{|\$\{([^{}]*\})?/g, (written, inner: string | undefined) => {
    if (written === "$${") return "${";
    const [, kind, name] = /^(file:)?(.*)\}$/s.exec(inner ?? "") ?? [];
    if (name === undefined || (kind === undefined && !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) || name === "") {
      faults.push(`expected \${NAME} or \${file:PATH} where a \${ begins. Write $\${ where a plain \${ is meant.`);
      return "";
    }
    references.push(written);
    try {
      const value = kind === undefined ? surroundings.env[name] : surroundings.readFile(name).replace(/\r?\n$/, "");
      if (value !== undefined) return value;
      faults.push(`the environment variable ${name} is not set. Set it, or write $\${ where a plain \${ is meant.`);
    } catch (thrown) {
      faults.push(`${written} cannot be read: ${whyUnreadable(thrown)}. Make the file readable for the user billhook runs as.`);
    }
    return "";
  });
  return { text: filled, references, faults };
}

/** Why a file could not be read, in words. */
export function whyUnreadable(thrown: unknown): string {
  switch (thrown instanceof Error ? (thrown as NodeJS.ErrnoException).code : undefined) {
    case "ENOENT":
    case "ENOTDIR":
      return "there is no such file";
    case "EACCES":
    case "EPERM":
      return "this user may not read it";
    case "EISDIR":
      return "it is a directory";
    case "ERR_ENCODING_INVALID_ENCODED_DATA":
      return "it is not UTF-8 text";
    default:
      return reasonOf(thrown);
  }
}
