/** The role of a sink, kept by every implementation. */
import { fileSides } from "../sink/file-side.ts";
import { httpSinks } from "../sink/http-side.ts";
import { sinkContract } from "./sinks.ts";

for (const implementation of [...fileSides, ...httpSinks]) sinkContract(implementation);
