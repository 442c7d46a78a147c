// The reference serializer as a process. Each line on stdin is a request in JSON, each line on stdout its answer:
//   {"encode": [neutral values]} -> {"hex": "..."}
//   {"decode": "hex"}            -> {"values": [neutral values], "again": "hex of the values encoded anew"}
// A request that throws is answered with {"error": "..."}. The end of stdin ends the process.

import { createInterface } from "node:readline";
import { serializeToBuffer, unserializeFromBuffer } from "@ezez/utils";
import { build, describe } from "./neutral.mjs";

const encode = (values) => serializeToBuffer(Buffer, [], ...values).toString("hex");

const answer = (request) => {
    if (request.encode) {
        return { hex: encode(request.encode.map(build)) };
    }
    const values = unserializeFromBuffer(Buffer, [], Buffer.from(request.decode, "hex"));
    return { values: values.map(describe), again: encode(values) };
};

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    let reply;
    try {
        reply = answer(JSON.parse(line));
    }
    catch (error) {
        reply = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
}
