/** Whom tokens are asked of: the endpoints and scopes of Google and Microsoft 365, or those of a provider of the owner's own. */
import type { Grant } from "./signin.ts";

export type Provider =
  | { readonly is: "google" }
  /** `tenant`: a directory's id or domain, or `organizations`. */
  | { readonly is: "microsoft"; readonly tenant: string }
  /** Its endpoints are looked up (OpenID Connect Discovery 1.0). */
  | { readonly is: "issuer"; readonly issuer: string }
  | { readonly is: "endpoints"; readonly tokenUrl: string; readonly deviceUrl: string | null; readonly authorizeUrl: string | null };

export type Place = {
  readonly issuer: string;
  /** Null: to be looked up. */
  readonly endpoints: { readonly token: string; readonly device: string | null; readonly authorize: string | null } | null;
  /** What is asked for unless the owner says otherwise; null: nothing. */
  readonly scope: string | null;
  /** What is added to the address a person opens. */
  readonly extra: { readonly [name: string]: string };
};

/** OpenID Connect Core section 11: without it offline_access is passed over. */
const OFFLINE = { prompt: "consent" };

export function placeOf(provider: Provider, grant: Grant): Place {
  switch (provider.is) {
    case "google":
      // developers.google.com/identity/protocols/oauth2/native-app and /gmail/imap/xoauth2-protocol. A refresh token comes only with
      // access_type=offline, and a second time only with prompt=consent.
      return {
        issuer: "https://accounts.google.com",
        endpoints: {
          token: "https://oauth2.googleapis.com/token",
          // Google's list of scopes for limited-input devices has none for mail.
          device: null,
          authorize: "https://accounts.google.com/o/oauth2/v2/auth",
        },
        scope: "https://mail.google.com/",
        extra: { access_type: "offline", prompt: "consent" },
      };
    case "microsoft": {
      // learn.microsoft.com: "Authenticate an IMAP, POP or SMTP connection using OAuth", and "v2-oauth2-device-code".
      const at = `https://login.microsoftonline.com/${encodeURIComponent(provider.tenant)}`;
      const [token, device, authorize] = ["token", "devicecode", "authorize"].map((name) => `${at}/oauth2/v2.0/${name}`);
      return {
        issuer: `${at}/v2.0`,
        endpoints: { token: token ?? "", device: device ?? null, authorize: authorize ?? null },
        // GUESS: of the two host names the documentation uses, outlook.office.com is the one it names for delegated permissions.
        scope:
          grant === "client" ? "https://outlook.office365.com/.default" : "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
        extra: {},
      };
    }
    case "issuer":
      return { issuer: provider.issuer, endpoints: null, scope: "openid offline_access", extra: OFFLINE };
    case "endpoints": {
      const { tokenUrl: token, deviceUrl: device, authorizeUrl: authorize } = provider;
      return { issuer: new URL(token).origin, endpoints: { token, device, authorize }, scope: null, extra: OFFLINE };
    }
  }
}
