/** The configuration, once: every key with its type, its default and what it is for. Checks, types, JSON Schema and reference come from here. */
import type { z } from "zod";
import { keep } from "./keep.ts";
import { mailbox } from "./mailbox.ts";
import { retry } from "./retry.ts";
import { routes } from "./route.ts";
import { service } from "./service.ts";
import { sink } from "./sink.ts";
import { choice, host, line, named, path, section, size, whole, yesOrNo } from "./values.ts";

const state = section({
  directory: path("a directory")
    .default("./state")
    .meta({ description: "Where the ledger and the messages are kept. One daemon at a time; it must survive restarts." }),
  minFree: size()
    .prefault("100MB")
    .meta({ description: "With less free space there no mail is taken in, and billhook says that it is not well." }),
}).meta({ description: "What billhook remembers." });

const log = section({
  level: choice("debug", "info", "warn", "error").default("info").meta({ description: "The least important events written." }),
  format: choice("auto", "pretty", "json")
    .default("auto")
    .meta({ description: "pretty is for people, json for machines; auto is pretty on a terminal and json elsewhere." }),
  addresses: yesOrNo().default(false).meta({ description: "Whether full mail addresses are written; otherwise only a…@example.com." }),
}).meta({ description: "The log, on standard error." });

const secrets = section({
  key: line(
    "32 bytes in base64 or hexadecimal digits, as `openssl rand -base64 32` prints them",
    /^([A-Za-z0-9+/]{43}=|[0-9A-Fa-f]{64})$/,
  ).meta({
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
    examples: ["${BILLHOOK_KEY}"],
    description: "The key (AES-256-GCM) that the tokens of mailboxes with oauth2 are stored with, under signin in the state directory.",
    writeOnly: true,
  }),
})
  .optional()
  .transform((it) => it ?? null)
  .meta({ description: "What billhook keeps its own secrets with." });

const web = section({
  host: host("localhost")
    .default("127.0.0.1")
    .meta({ description: "The address listened on; 0.0.0.0 is every one of IPv4, :: of IPv6 too." }),
  port: whole(1, 65_535, "a port number from 1 to 65535")
    .default(8080)
    .meta({ description: "The port listened on.", examples: [8080] }),
  metrics: yesOrNo().nullable().default(null).meta({
    description:
      "Whether /metrics is served, and /readyz gives its reasons: both name mailboxes, services and sinks to whoever can reach the port. Left out: on loopback only.",
  }),
  token: line("16 to 200 visible ASCII characters, as `openssl rand -hex 20` prints them", /^[\x21-\x7e]{16,200}$/)
    .nullable()
    .default(null)
    .meta({
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
      examples: ["${BILLHOOK_WEB_TOKEN}"],
      description:
        "What the status page asks for before it shows anything. Left out: on loopback the page is open to whoever is on this machine, and elsewhere there is none. Put TLS in front of anything but loopback.",
      writeOnly: true,
    }),
})
  .optional()
  .transform((it) => it ?? null)
  .meta({
    description:
      "The HTTP server of the status page, /healthz, /readyz, /metrics, and that webhooks come in by. Nothing is listened on when it is left out.",
  });

export const schema = section({
  state: state.prefault({}),
  keep,
  log: log.prefault({}),
  secrets,
  concurrency: whole(1, 64, "a whole number from 1 to 64").default(8).meta({
    description:
      "How many tasks of one kind are worked on at once; of deliveries, for each sink; of readings, for each service, orders and questions apart.",
  }),
  retry: retry("3d").prefault({}).meta({ description: "When to try again after a failure that may pass. Sinks have their own." }),
  mailboxes: named(mailbox).meta({ description: "The mailboxes that are watched, by a name of your own; at least one.", minProperties: 1 }),
  services: named(service).meta({
    description:
      "The extraction services, by names of your own; at least one. The first reads every mail that no rule of routes gives to another.",
    minProperties: 1,
  }),
  sinks: named(sink).meta({
    description: "Where results go, by names of your own; at least one. Each gets every result, unless a rule of routes says otherwise.",
    minProperties: 1,
  }),
  routes,
  web,
});

/** What the daemon is given: defaults in place, durations in milliseconds, sizes in bytes, paths absolute. */
export type Config = z.output<typeof schema>;
