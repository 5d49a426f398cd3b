/** What a mail says, shown so that it cannot steer the terminal: control and format characters become visible. */

const STEERING = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** One line for people. */
export function visible(line: string): string {
  return line.replace(STEERING, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** One line of JSON with the same meaning as ever: such characters stand only in its strings, where they may be escaped (RFC 8259 section 7). */
export function visibleJson(value: unknown): string {
  return JSON.stringify(value).replace(STEERING, (character) =>
    character
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}
