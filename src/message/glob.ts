/** Globs, as an owner writes them on addresses, subjects and names: `*` stands for any characters, `?` for one. */

/**
 * Whether the whole text is like the glob, without regard to case. Only the last `*` is ever tried again, so the time grows with the
 * length of the text times that of the glob, whatever a sender writes.
 */
export function isLike(text: string, glob: string): boolean {
  const [told, wanted] = [folded(text), folded(glob)];
  let at = 0;
  let next = 0;
  let star: { readonly next: number; at: number } | null = null;
  while (at < told.length) {
    const mark = wanted[next];
    if (mark === "*") {
      next += 1;
      star = { next, at };
    } else if (mark === "?") {
      at += (told.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
      next += 1;
    } else if (mark === told[at]) {
      at += 1;
      next += 1;
    } else if (star === null) {
      return false;
    } else {
      star.at += 1;
      at = star.at;
      next = star.next;
    }
  }
  while (wanted[next] === "*") next += 1;
  return next === wanted.length;
}

/** NFC: some mail programs write `ü` as two characters. */
function folded(text: string): string {
  return text.normalize("NFC").toLowerCase();
}
