/** What must hold between the keys of one mailbox. Pure. */
import { type Broken, folderKey, plaintextRule, tlsRules } from "./broken.ts";
import type { Mailbox } from "./mailbox.ts";

/** `key`: whether there is one to store tokens with. */
export function mailboxRules(path: readonly string[], mailbox: Mailbox, key: boolean): readonly Broken[] {
  const broken = [...tlsRules(path, mailbox)];
  const tell = (at: readonly string[], message: string) => broken.push({ path: [...path, ...at], message });
  for (const verdict of ["done", "failed"] as const) {
    const action = mailbox.afterwards[verdict];
    if (action.is === "move" && folderKey(action.folder) === folderKey(mailbox.folder))
      tell(["afterwards", verdict, "move"], "expected another folder than the one that is watched. Choose another, or write none.");
  }
  if (mailbox.password === null && mailbox.oauth2 === null)
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
    tell(["password"], "expected a password, or oauth2 instead of it, found neither. Add, for example, password: ${IMAP_PASSWORD}");
  if (mailbox.password !== null && mailbox.oauth2 !== null)
    tell(["oauth2"], "expected password or oauth2, found both. Remove one of the two.");
  if (mailbox.oauth2 !== null) broken.push(...oauth2Rules([...path, "oauth2"], mailbox.oauth2, mailbox.allowPlaintext, key));
  return broken;
}

type OAuth2 = NonNullable<Mailbox["oauth2"]>;

function oauth2Rules(path: readonly string[], oauth2: OAuth2, allowPlaintext: boolean, key: boolean): readonly Broken[] {
  const { provider, grant, refreshToken, clientSecret, tenant } = oauth2;
  const broken: Broken[] = [];
  const tell = (at: string, message: string) => broken.push({ path: [...path, at], message });
  for (const [name, url] of Object.entries(provider))
    if (name !== "is" && url !== null)
      broken.push(...plaintextRule([...path, "provider", name], url, allowPlaintext, "secrets and tokens"));
  if (tenant !== null && provider.is !== "microsoft") tell("tenant", "is for provider: microsoft only. Remove it.");
  if (grant === "refresh" && refreshToken === null)
    tell("grant", "expected refreshToken beside grant: refresh. Add it, or choose another grant.");
  if (grant !== "refresh" && refreshToken !== null)
    tell("refreshToken", `is for grant: refresh only. Remove it, or write grant: refresh instead of ${grant}.`);
  if (grant === "client" && clientSecret === null) tell("grant", "expected clientSecret beside grant: client. Add it.");
  if (grant === "client" && provider.is === "microsoft" && tenant === null)
    tell(
      "grant",
      "expected tenant beside grant: client with microsoft, for the application's rights are those of one directory. Add tenant.",
    );
  if (provider.is === "google" && (grant === "device" || grant === "client")) {
    const whom = grant === "device" ? "whoever types in a code" : "an application by itself";
    tell("grant", `expected code or refresh with google, which gives no mail to ${whom}. Write grant: code`);
  }
  if (provider.is === "endpoints") {
    const wanted = { device: "deviceUrl", code: "authorizeUrl" } as const;
    if ((grant === "device" || grant === "code") && provider[wanted[grant]] === null)
      tell("provider", `expected ${wanted[grant]} in it for grant: ${grant}. Add it, or choose another grant.`);
  }
  if (!key && grant !== "client")
    broken.push({
      path,
      message: "expected a key to store its tokens with. Add secrets: { key: ... } at the top; `openssl rand -base64 32` makes one.",
    });
  return broken;
}
