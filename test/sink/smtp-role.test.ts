/** The smtp sink keeps the contract of a sink. */
import { sinkContract } from "../contract/sinks.ts";
import { smtpUnderTest } from "./smtp-side.ts";

sinkContract(smtpUnderTest);
