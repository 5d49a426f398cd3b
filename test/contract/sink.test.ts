/** The role of a sink, kept by every implementation. */
import { fileSides } from "../sink/file-side.ts";
import { sinkContract } from "./sinks.ts";

for (const implementation of [...fileSides]) sinkContract(implementation);
