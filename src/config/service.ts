/** The extraction services of the configuration: what every kind understands, and the keys of each. */
import { z } from "zod";
import { choice, duration, httpUrl, kindOf, line, number, section, size, text, whole, yesOrNo } from "./values.ts";

const most = (expected = "a whole number from 1 to 1000000") => whole(1, 1_000_000, expected).nullable().default(null);
const perSecond = (calls: string) =>
  number(0.001, 1_000, "requests per second, from 0.001 to 1000")
    .default(10)
    .meta({ description: `${calls}, per second.` });
const term = (description: string) => text("a JSONata expression, or null").nullable().optional().meta({ description });

/** The terms of the normalised invoice, EN 16931. */
const invoice = section({
  invoices: term("The list of invoices, where one answer holds several; the terms below are looked up in each of its entries."),
  number: term("BT-1, the invoice's number."),
  type: term("BT-3, a code of UNTDID 1001: 380 invoice, 381 credit note."),
  issueDate: term("BT-2."),
  dueDate: term("BT-9."),
  currency: term("BT-5, ISO 4217."),
  "seller.name": term("BT-27."),
  "seller.vatId": term("BT-31."),
  "buyer.name": term("BT-44."),
  "buyer.vatId": term("BT-48."),
  net: term("BT-109, the sum without VAT."),
  tax: term("BT-110, the VAT."),
  gross: term("BT-112, the sum with VAT."),
  payable: term("BT-115, what is due for payment."),
  iban: term("BT-84, of the first credit transfer."),
  orderReference: term("BT-13, the purchase order."),
  lines: term("The list of lines; what follows is looked up in each of its entries."),
  "lines.id": term("BT-126."),
  "lines.name": term("BT-153."),
  "lines.quantity": term("BT-129."),
  "lines.unit": term("BT-130, a code of UN/ECE Recommendation 20."),
  "lines.price": term("BT-146, the net price of one."),
  "lines.net": term("BT-131, the line's sum without VAT."),
  "lines.taxRate": term("BT-152, percent."),
})
  .transform((terms): { readonly [term: string]: string | null } =>
    Object.fromEntries(Object.entries(terms).flatMap(([name, it]) => (it === undefined ? [] : [[name, it]]))),
  )
  .prefault({})
  .meta({
    description:
      "Where the terms of the normalised invoice stand in the service's data, each as a JSONata expression. `$data` is the whole of it everywhere. What is left out is found by its usual names; null leaves a term empty.",
  });

const poll = (first: string) =>
  section({
    first: duration().prefault(first).meta({ description: "Wait before the first question; it grows from there." }),
    longest: duration().prefault("30s").meta({ description: "The longest wait between two questions." }),
  })
    .prefault({})
    .meta({ description: "How often a run is asked after." });

const plaintext = yesOrNo()
  .default(false)
  .meta({ description: "Needed for an http URL on anything but loopback: key and mail are then readable on the way." });

const key = (example: string) =>
  line("a key of visible ASCII characters on one line", /^[\x21-\x7e]+$/).meta({
    description: "The API key.",
    examples: [example],
    writeOnly: true,
  });

const sync = (limit: string) => ({
  mode: choice("async", "sync")
    .default("async")
    .meta({ description: `async: a run is started and asked after. sync: small documents are read in one call that waits; ${limit}` }),
  syncMaxBytes: size()
    .prefault("2MB")
    .meta({ description: "With mode: sync, the largest document read that way; a larger one is read async." }),
});

const deadlines = {
  pending: duration().prefault("2h").meta({ description: "How long a run may stay pending." }),
  running: duration().prefault("2h").meta({ description: "How long a run may stay running, or in a state we do not know." }),
};
const GIVEN_UP = "When a run is given up. Time in which the service answers no question does not count.";

/** What every kind of service understands. */
const shared = {
  timeout: duration().prefault("60s").meta({ description: "The longest one HTTP call may take." }),
  deadlines: section(deadlines).prefault({}).meta({ description: GIVEN_UP }),
  limits: section({
    runsPerDay: most().meta({ description: "Runs bought in a day (UTC). What a backfill brings uses half of it.", examples: [500] }),
    runsPerHour: most().meta({ description: "Runs bought in an hour. What a backfill brings uses half of it.", examples: [100] }),
    maxBytes: size().nullable().prefault(null).meta({ description: "The largest message read without a person's word." }),
    maxParts: most().meta({ description: "The most parts a message may have to be read without a person's word.", examples: [20] }),
  })
    .prefault({})
    .meta({
      description:
        "What may be spent. What is over a limit of runs waits for its time, what is too big is held for a person; nothing is dropped. What is left out has no limit.",
    }),
  rates: section({
    read: perSecond("Questions, such as polls"),
    write: perSecond("Uploads"),
    run: perSecond("Runs started"),
  })
    .prefault({})
    .meta({ description: "How fast the service is called." }),
  breaker: section({
    failures: whole(1, 1_000, "a whole number from 1 to 1000").default(5).meta({ description: "Failures in a row before it opens." }),
    first: duration().prefault("10s").meta({ description: "The first rest; each further one is twice as long." }),
    longest: duration().prefault("10m").meta({ description: "The longest rest." }),
  })
    .prefault({})
    .meta({ description: "When a service that is down is left in peace." }),
  invoice,
};

const multipart = section({
  mimetype: choice("message/rfc822", "multipart/related")
    .default("message/rfc822")
    .meta({ description: "GUESS: the mimetype of the whole submission." }),
  fields: section({
    name: line("a field name").default("filename").meta({ description: "GUESS: holds the part's file name." }),
    type: line("a field name").default("mimetype").meta({ description: "GUESS: holds the part's media type." }),
    kind: line("a field name, or null to leave it out")
      .nullable()
      .default("file_type")
      .meta({ description: "GUESS: holds the word binary; null leaves the field out." }),
    content: line("a field name").default("file").meta({ description: "GUESS: holds the part's bytes as base64." }),
  })
    .prefault({})
    .meta({ description: "GUESS: the names of the fields of one part." }),
  body: choice("text", "html", "both", "none")
    .default("text")
    .meta({ description: "GUESS: which bodies of the mail are parts too; html is sent as text/plain, the service knows no text/html." }),
});

const cloudsquid = section({
  kind: z
    .literal("cloudsquid", "cloudsquid")
    .meta({ description: "The service this is.", expected: "cloudsquid", examples: ["cloudsquid"] }),
  url: httpUrl().prefault("https://api.cloudsquid.io/api").meta({ description: "The base URL of the API." }),
  allowPlaintext: plaintext,
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
  apiKey: key("${CLOUDSQUID_API_KEY}"),
  project: line("the name of a project").meta({ description: "The project the table is in.", examples: ["Accounts Payable"] }),
  table: line("the id of a table, a UUID", /^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$/).meta({
    description: "The table whose rows the runs are.",
    examples: ["3c90c3cc-0d44-4b50-8888-8dd25736052a"],
  }),
  ...sync("the service advises it for what takes less than 60 s and documents no limit, so it needs timeout: 5m."),
  encoding: choice("multipart", "rfc822", "attachments", "uri").default("multipart").meta({
    description:
      "How a mail is submitted. multipart: one run with the body and every attachment as parts. rfc822: one run with the raw mail. attachments: one run for each attachment. uri: the raw mail is put into the project's files, and the service fetches it from there.",
  }),
  multipart: multipart.prefault({}).meta({
    description:
      "The parts of a multipart submission. The service does not document them: every value here is a GUESS that can be changed.",
  }),
  unsupported: choice("map", "skip", "refuse").default("map").meta({
    description:
      "What becomes of a part whose media type the service does not take. map: sent as the nearest type it takes, such as text/plain for XML. skip: left out, and said. refuse: the document fails without being sent.",
  }),
  zeroRetention: yesOrNo()
    .default(false)
    .meta({ description: "Asks the service to keep nothing after the answer. Neither mode: sync nor encoding: uri can do that." }),
  maxBytes: size()
    .prefault("20MB")
    .meta({ description: "The largest message submitted, before base64; a larger one fails without being sent." }),
  poll: poll("2s"),
  ...shared,
}).meta({ description: "Cloudsquid." });

const REGIONS = { us: "https://api.extend.ai", us2: "https://api.us2.extend.app", eu: "https://api.eu1.extend.ai" } as const;

const extend = section({
  kind: z.literal("extend", "extend").meta({ description: "The service this is.", expected: "extend", examples: ["extend"] }),
  region: choice("us", "us2", "eu").default("us").meta({ description: "Where the account is." }),
  url: httpUrl().optional().meta({ description: "The base URL of the API, instead of the region's: for the sandbox." }),
  allowPlaintext: plaintext,
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
  apiKey: key("${EXTEND_API_KEY}"),
  workspace: line("the id of a workspace, which begins with ws_", /^ws_[\w-]+$/)
    .nullable()
    .default(null)
    .meta({ description: "Needed when the key is an organization's.", examples: ["ws_Ab12"] }),
  extractor: section({
    id: line("the id of an extractor, which begins with ex_", /^ex_[\w-]+$/).meta({ description: "Its id.", examples: ["ex_Ab12"] }),
    version: line('latest, draft or a version in quotes, such as "1.10"', /^[\w.-]+$/)
      .nullable()
      .default(null)
      .meta({ description: "The service's choice when left out.", examples: ["latest"] }),
  })
    .optional()
    .transform((it) => it ?? null)
    .meta({
      description: "The extractor made at Extend that reads the documents; or config; or neither, then Extend finds the fields by itself.",
    }),
  config: z
    .record(z.string(), z.unknown(), "a mapping")
    .optional()
    .transform((it) => it ?? null)
    .meta({ description: "Instead of extractor: the config of a run, passed on as it is.", expected: "a mapping" }),
  priority: whole(1, 100, "a whole number from 1 to 100")
    .nullable()
    .default(null)
    .meta({ description: "Lower goes first; 50 when left out. It counts only when Extend slows the account down.", examples: [50] }),
  usageTags: z
    .array(line("a tag of letters, digits, - and _", /^[A-Za-z0-9_-]+$/), "a list of tags")
    .default([])
    .meta({
      description: "Tags by which Extend breaks down its usage.",
      expected: "a list of tags of letters, digits, - and _",
      examples: [["invoices"]],
    }),
  metadata: z
    .record(
      z
        .string()
        .regex(
          /^(?!billhook:|extend:)[\x21-\x7e]{1,100}$/,
          "up to 100 visible ASCII characters that begin neither with billhook: nor with extend:",
        ),
      text("a text (quote a number)"),
      { error: (issue) => (issue.code === "invalid_type" ? "a mapping of texts" : undefined) },
    )
    .default({})
    .meta({ description: "Texts of your own that are kept with each run.", expected: "a mapping of texts", examples: [{ team: "ap" }] }),
  ...sync("Extend ends it after 5 minutes and advises it for trying out only; it needs timeout: 5m."),
  submit: choice("parts", "eml").default("parts").meta({
    description: "How a mail is submitted. parts: the body and every attachment as files of one run. eml: the raw mail as one file.",
  }),
  body: choice("text", "html", "none").default("text").meta({ description: "With submit: parts, which body of the mail is a file too." }),
  unsupported: choice("skip", "refuse").default("skip").meta({
    description:
      "What becomes of a part of a type Extend does not take. skip: left out, and said. refuse: the document fails without being sent.",
  }),
  output: choice("final", "reviewed", "initial").default("final").meta({
    description:
      "Which output is the data. final: with what people at Extend changed. reviewed: only what people passed, waited for until deadlines.review. initial: as first read.",
  }),
  maxBytes: size().prefault("50MB").meta({ description: "The largest message submitted; a larger one fails without being sent." }),
  webhookSecret: line("a signing secret, which begins with wss_", /^wss_[\x21-\x7e]+$/)
    .nullable()
    .default(null)
    .meta({
      description:
        "The secret of the webhook endpoint at Extend. It calls /webhooks/<name of this service>, and makes the next poll due at once; needs web.",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference as the configuration writes it
      examples: ["${EXTEND_WEBHOOK_SECRET}"],
      writeOnly: true,
    }),
  poll: poll("1s"),
  ...shared,
  deadlines: section({
    ...deadlines,
    review: duration()
      .prefault("14d")
      .meta({ description: "With output: reviewed, how long people may take to look at what a run found." }),
  })
    .prefault({})
    .meta({ description: GIVEN_UP }),
})
  .transform(({ region, url, ...rest }) => ({ ...rest, url: url ?? REGIONS[region], reviewMs: rest.deadlines.review }))
  .meta({ description: "Extend." });

export const service = z.discriminatedUnion("kind", [cloudsquid, extend], kindOf("the kind of a service: cloudsquid or extend"));

export type Service = z.output<typeof service>;
export type Cloudsquid = z.output<typeof cloudsquid>;
export type Extend = z.output<typeof extend>;
