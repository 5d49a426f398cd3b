/** The sign-in of a mailbox by OAuth 2.0, as it is configured. */
import { z } from "zod";
import { choice, httpUrl, line, section } from "./values.ts";

const PROVIDER = "google, microsoft, { issuer: URL } or { tokenUrl: URL }, with deviceUrl or authorizeUrl beside it";

const provider = z
  .union(
    [
      choice("google", "microsoft").transform((is) => ({ is })),
      section({
        issuer: httpUrl().meta({ description: "An OpenID provider: where its endpoints are is looked up there." }),
      }).transform(({ issuer }) => ({ is: "issuer" as const, issuer })),
      section({
        tokenUrl: httpUrl().meta({ description: "Where tokens are asked for." }),
        deviceUrl: httpUrl().nullable().default(null).meta({ description: "Where device codes are asked for." }),
        authorizeUrl: httpUrl().nullable().default(null).meta({ description: "The page a person consents at." }),
      }).transform((it) => ({ is: "endpoints" as const, ...it })),
    ],
    { error: PROVIDER },
  )
  .meta({ expected: PROVIDER });

export const oauth2 = section({
  provider: provider.meta({ description: "Who gives the tokens.", examples: ["microsoft"] }),
  clientId: line("the id of a client").meta({ description: "The id of the application that was registered there." }),
  clientSecret: line("the secret of a client")
    .nullable()
    .default(null)
    .meta({ description: "Its secret, where it has one.", writeOnly: true }),
  tenant: line("the id or the domain of a directory", /^[A-Za-z0-9.-]+$/)
    .nullable()
    .default(null)
    .meta({ description: "With microsoft: the directory of the account; organizations when left out." }),
  grant: choice("device", "code", "refresh", "client").optional().meta({
    description:
      "Where the first token comes from. device: `billhook login` shows a code to type in anywhere. code: `billhook login` shows an address to open in a browser on this machine. refresh: refreshToken. client: the application's own rights, nobody consents. When left out: refresh with refreshToken, code with google, otherwise device.",
  }),
  refreshToken: line("a refresh token")
    .nullable()
    .default(null)
    .meta({ description: "With refresh: the first one. What the provider gives after that is stored, encrypted.", writeOnly: true }),
  scope: line("scopes, separated by spaces", /^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$/)
    .nullable()
    .default(null)
    .meta({
      description: "What is asked for; IMAP of google or microsoft when left out. With others offline_access usually has to be in it.",
    }),
  mechanism: choice("auto", "oauthbearer", "xoauth2")
    .default("auto")
    .meta({ description: "How the token is shown to the IMAP server (SASL); auto takes what it offers." }),
})
  .transform(({ grant, ...rest }) => ({ ...rest, grant: grant ?? usual(rest) }))
  .optional()
  .transform((it) => it ?? null)
  .meta({ description: "Instead of password: OAuth 2.0." });

function usual({ refreshToken, provider }: { readonly refreshToken: string | null; readonly provider: { readonly is: string } }) {
  if (refreshToken !== null) return "refresh" as const;
  return provider.is === "google" ? ("code" as const) : ("device" as const);
}
