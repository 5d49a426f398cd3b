/** Who a mail is really from, as our own mail server found out: Authentication-Results, RFC 8601. */

/** One `resinfo` of the field: `dkim=pass header.d=example.com`; names and results in lower case. */
type Result = { readonly method: string; readonly result: string; readonly properties: ReadonlyMap<string, string> };

/**
 * Whether the server `authserv` says that the mail is from `domain` (ASCII, lower case): DMARC passed for it, or a DKIM signature of
 * the domain or of one above it. `fields` as they stand in the message, topmost first: only the topmost field of that server is
 * believed, since what stands below may have come with the mail (section 5). What cannot be parsed proves nothing.
 */
export function authenticated(fields: readonly string[], authserv: string, domain: string): boolean {
  for (const field of fields) {
    const [server, ...rest] = sectionsOf(field) ?? [];
    // `authserv-id [ CFWS authres-version ]`
    if (server?.[0]?.toLowerCase() !== authserv.toLowerCase()) continue;
    return passes(rest.map(resultOf), domain);
  }
  return false;
}

function passes(results: readonly (Result | null)[], domain: string): boolean {
  const dmarc = results.filter((it) => it?.method === "dmarc");
  if (dmarc.some((it) => it?.result === "fail")) return false;
  return results.some((it) => {
    if (it?.result !== "pass") return false;
    // Without header.from nobody knows of which domain.
    if (it.method === "dmarc") return it.properties.get("header.from") === domain;
    return it.method === "dkim" && isAtOrAbove(it.properties.get("header.d") ?? "", domain);
  });
}

/** Not RFC 7489's organisational domain, which also trusts the domains below: who has one of them does not speak for the one above. */
function isAtOrAbove(signer: string, domain: string): boolean {
  return signer.includes(".") && (domain === signer || domain.endsWith(`.${signer}`));
}

/** `method[/version]=result [reason=value] ptype.property=pvalue …`; the first property of a name counts. */
function resultOf(section: readonly string[]): Result | null {
  const pairs: [string, string][] = [];
  for (let at = 0; at < section.length; at++) {
    if (section[at + 1] !== "=") continue;
    pairs.push([(section[at] ?? "").toLowerCase(), (section[at + 2] ?? "").toLowerCase()]);
    at += 2;
  }
  const [first, ...rest] = pairs;
  if (first === undefined) return null;
  return { method: first[0].split("/", 1)[0] ?? "", result: first[1], properties: new Map(rest.reverse()) };
}

/** What ends a word that is not quoted. */
const END = /[\s;="(]/;

/**
 * The words between the semicolons, `=` standing alone: comments (which may nest) are left out, quoted strings are unquoted
 * (RFC 5322 section 3.2). A value may go on after a quoted string: `"john doe"@example.com`. Null for what is left open.
 */
function sectionsOf(field: string): readonly (readonly string[])[] | null {
  const sections: string[][] = [[]];
  let word: string | null = null;
  const end = () => {
    if (word !== null) sections.at(-1)?.push(word);
    word = null;
  };
  for (let at = 0; at < field.length; ) {
    const sign = field[at] ?? "";
    if (sign === "(") {
      end();
      at = afterComment(field, at);
    } else if (sign === '"') {
      const [text, next] = quotedAt(field, at);
      // Marked, so that a quoted "=" is no sign of ours.
      word = `${word ?? ""}${text === "=" ? '"="' : text}`;
      at = next;
    } else if (END.test(sign)) {
      end();
      if (sign === ";") sections.push([]);
      if (sign === "=") sections.at(-1)?.push("=");
      at++;
    } else {
      const from = at;
      while (at < field.length && !END.test(field[at] ?? "")) at++;
      word = `${word ?? ""}${field.slice(from, at)}`;
    }
    if (at === OPEN) return null;
  }
  end();
  return sections;
}

const OPEN = Number.POSITIVE_INFINITY;

/** Where the comment that begins at `at` is over; OPEN when it never is. */
function afterComment(field: string, at: number): number {
  let depth = 0;
  for (let here = at; here < field.length; here++) {
    if (field[here] === "\\") here++;
    else if (field[here] === "(") depth++;
    else if (field[here] === ")" && --depth === 0) return here + 1;
  }
  return OPEN;
}

function quotedAt(field: string, at: number): readonly [text: string, next: number] {
  let text = "";
  for (let here = at + 1; here < field.length; here++) {
    if (field[here] === '"') return [text, here + 1];
    if (field[here] === "\\") here++;
    text += field[here] ?? "";
  }
  return [text, OPEN];
}
