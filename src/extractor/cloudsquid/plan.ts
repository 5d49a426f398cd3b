/** What of a document goes to Cloudsquid, or why it cannot go at all. */
import { type Fault, permanent } from "../../base/errors.ts";
import type { Piece } from "../../message/message.ts";
import type { Document, Submission } from "../extractor.ts";
import { shortText } from "../json.ts";
import { submissionOf } from "../submission.ts";
import { type Encoding, encode, leftOut, type MultipartOptions, submittedAs, type Upload } from "./encode.ts";
import type { Unsupported } from "./media.ts";

export type PlanOptions = {
  readonly name: string;
  readonly encoding: Encoding;
  readonly multipart: MultipartOptions;
  /** What happens to a part whose type is not on the service's list; `map` unless said otherwise. */
  readonly unsupported?: Unsupported;
  /** Largest submission, in bytes before base64. */
  readonly maxBytes: number;
};

/** `left`: what the service is not given because of its type. */
export type Plan = { readonly left: readonly Piece[] } & (
  | { readonly is: "upload"; readonly upload: Upload }
  | { readonly is: "refused"; readonly fault: Fault }
);

const MOST_TOLD = 10;

export function planOf(document: Document, { name, encoding, multipart, unsupported = "map", maxBytes }: PlanOptions): Plan {
  const left = leftOut(document, encoding, multipart, unsupported);
  const refused = (fault: Fault) => ({ left, is: "refused", fault }) as const;
  if (unsupported === "refuse" && left.length > 0) {
    const parts = left.slice(0, MOST_TOLD).map((part) => `${part.id} (${shortText(part.contentType, 60) ?? "no type"})`);
    return refused(
      permanent(
        "cloudsquid.unsupported",
        `${name}: ${left.length} parts are of no type the service takes: ${parts.join(", ")}${left.length > MOST_TOLD ? ", …" : ""}`,
        "set `unsupported` to map or skip to send the others, then run `billhook retry`",
      ),
    );
  }
  const upload = encode(document, encoding, multipart, unsupported);
  if (upload === null)
    return refused(
      permanent(
        "cloudsquid.nothing-to-send",
        `${name}: no part is of a type the service takes`,
        "`billhook ignore` gives the mail up; a route can ignore such mail",
      ),
    );
  if (upload.size <= maxBytes) return { left, is: "upload", upload };
  return refused(
    permanent(
      "cloudsquid.too-large",
      `${name}: the submission is ${upload.size} bytes long, the limit is ${maxBytes}`,
      "raise maxBytes of the service if it takes more, then run `billhook retry`",
    ),
  );
}

export function submissionFor(document: Document, options: PlanOptions): Submission {
  const plan = planOf(document, options);
  const { encoding, multipart, unsupported } = options;
  const body = encoding === "attachments" ? "none" : multipart.body;
  return submissionOf(document, submittedAs(document, encoding, multipart, unsupported), body, plan.is === "refused" ? plan.fault : null);
}
