/** Authentication-Results: what the configured server says is believed, what anybody else wrote is not. */
import { describe, expect, test } from "vitest";
import { authenticated } from "../../src/sink/smtp/authentication.ts";

const MX = "mx.example.com";
const proves = (...fields: readonly string[]) => authenticated(fields, MX, "seilerei.example");

describe("Authentication-Results", () => {
  test.each([
    ["DMARC passed", `${MX}; dmarc=pass header.from=seilerei.example`],
    [
      "in other letters, with a version and comments",
      `MX.Example.COM (our (own) mx) 1; DMARC (p=none) = Pass (ok) Header.From=Seilerei.EXAMPLE`,
    ],
    ["the method has a version", `${MX}; dmarc/1=pass header.from=seilerei.example`],
    ["the server's name is quoted", `"${MX}"; dmarc=pass header.from=seilerei.example`],
    ["DKIM of the domain", `${MX}; dkim=pass reason="good; really" header.d=seilerei.example header.b="a=b;c"`],
    ["DKIM of the domain above", `${MX}; dkim=fail header.d=x.example; dkim=pass header.d=seilerei.example header.s=s1`],
    [
      "Gmail's way",
      `${MX};\t dkim=pass header.i=@x.example header.s=a header.b=Zx+9; spf=pass (google.com: domain of a@b designates 192.0.2.1 as permitted sender) smtp.mailfrom="john doe"@b.example; dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=seilerei.example`,
    ],
    [
      "Microsoft's extras",
      `${MX}; spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=seilerei.example; dkim=pass (signature was verified) header.d=seilerei.example;dmarc=pass action=none header.from=seilerei.example;compauth=pass reason=100`,
    ],
  ])("proves: %s", (_, field) => {
    expect(proves(field)).toBe(true);
  });

  test.each([
    ["nothing was checked", `${MX}; none`],
    ["nothing at all", ""],
    ["only the server's name", MX],
    ["DMARC failed", `${MX}; dmarc=fail header.from=seilerei.example`],
    ["DMARC failed, although a signature is good", `${MX}; dkim=pass header.d=seilerei.example; dmarc=fail header.from=seilerei.example`],
    ["DMARC without saying of which domain", `${MX}; dmarc=pass (p=REJECT)`],
    ["DMARC of the domain of the envelope", `${MX}; dmarc=pass smtp.mailfrom=seilerei.example`],
    ["DMARC of another domain", `${MX}; dmarc=pass header.from=evil.example`],
    ["only SPF", `${MX}; spf=pass smtp.mailfrom=seilerei.example`],
    ["DKIM of another domain", `${MX}; dkim=pass header.d=evil.example`],
    ["DKIM of a domain that only ends like it", `${MX}; dkim=pass header.d=erei.example`],
    ["DKIM of a domain below", `${MX}; dkim=pass header.d=customer.seilerei.example`],
    ["DKIM of a whole top-level domain", `${MX}; dkim=pass header.d=example`],
    ["DKIM of nobody", `${MX}; dkim=pass`],
    ["another server", `mx.evil.example; dmarc=pass header.from=seilerei.example`],
    ["a name that begins the same", `${MX}.evil.example; dmarc=pass header.from=seilerei.example`],
    ["in a comment", `${MX}; spf=fail (x; dmarc=pass header.from=seilerei.example) smtp.mailfrom=a@b.example`],
    ["in a nested comment", `${MX}; spf=fail (a (b) ; dmarc=pass)`],
    ["in a comment with an escaped end", `${MX}; spf=fail (a \\) ; dmarc=pass ; x)`],
    ["in a quoted string", `${MX}; spf=fail smtp.mailfrom="x; dmarc=pass header.from=seilerei.example"@b.example`],
    ["in a quoted string with an escaped end", `${MX}; spf=fail smtp.mailfrom="x\\"; dmarc=pass"`],
    ["a quoted sign", `${MX}; dmarc "=" pass`],
    ["the server's name in a comment only", `(${MX}) evil.example; dmarc=pass`],
    ["a comment without an end", `${MX}; dmarc=pass header.from=seilerei.example (`],
    ["a quotation without an end", `${MX}; dmarc=pass header.from=seilerei.example "`],
    ["no result", `${MX}; dmarc=`],
    ["as a property", `${MX}; spf=fail dmarc=pass`],
  ])("proves nothing: %s", (_, field) => {
    expect(proves(field)).toBe(false);
  });

  test("only the topmost field of that server is believed; those of others are passed over", () => {
    const [good, bad] = [`${MX}; dmarc=pass header.from=seilerei.example`, `${MX}; dmarc=none`];
    expect(proves("other.example; dmarc=fail", good)).toBe(true);
    expect(proves(bad, good)).toBe(false);
    expect(proves(`${MX} (`, good)).toBe(true);
  });

  test("hostile fields take no time", () => {
    const begun = performance.now();
    for (const part of ["(", ")", '"', "\\", "=", ";", "a", " ", "(\\", "a=", '"="', ";="]) {
      for (const start of ["", `${MX};`]) expect(proves(`${start}${part.repeat(4_000 / part.length)}`)).toBe(false);
    }
    expect(performance.now() - begun).toBeLessThan(1_000);
  });
});
