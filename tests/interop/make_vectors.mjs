// Writes ../data/golden_vectors.json: messages of the reference serializer with the values that they hold.
// Run it from the top of the repository after `make node`:  node tests/interop/make_vectors.mjs

import { readFileSync, writeFileSync } from "node:fs";
import { serializeToBuffer } from "@ezez/utils";
import { describe } from "./neutral.mjs";

const numbers = [
    0, -0, 1, -1, 42, 1000, 2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 53, 1.5, -1.5, 0.1, 0.1 + 0.2, 1e15, 1e16, 1e20,
    123456789012345680000, 1e21, -1e21, 1.5e21, 1.7976931348623157e308, 5e-324, 1e-4, 1e-5, 1.5e-5, 1e-6, 1.23e-6, 1e-7,
    -1.5e-7, NaN, Infinity, -Infinity,
];
const strings = [
    "", "test", "zażółć", "日本語", "😀", "a\0b", 'a "quote" and a \\ backslash', "\b\f\n\r\t", "\u0001\u001f\u007f\u0080",
    "\u2028\u2029", "\ufeffbom", "s:n:1", "</script>", "\ufffd", "\ue000",
];
const vectors = {
    "a text": ["test"],
    "an event": ["ping", 1, null, "hello"],
    "a reply": ["pong", 2, 1, { ok: true }],
    "authentication": ["ezez-ws::auth", "key", 1],
    "every scalar": ["s", 1, 1n, true, false, null, undefined],
    "texts": strings,
    "texts in a list": [strings],
    "texts as keys": [Object.fromEntries(strings.map((text, index) => [text, index]))],
    "numbers": numbers,
    "numbers in a list": [numbers],
    "bigints": [0n, 1n, -1n, 2n ** 53n, -(2n ** 53n), 10n ** 100n, [10n ** 100n]],
    "bytes": [Buffer.from([]), Buffer.from([0, 1, 2, 255]), Buffer.from("4f\0test\0")],
    "empty containers": [[], {}, [[]], [{}], { a: [] }, { a: {} }],
    "nested scalars": [["s", 1, 1n, true, false, null, undefined, ["x"], { a: null, b: undefined, c: true }]],
    "sorted keys": [{ b: 1, a: 2, B: 3, "ä": 4, "": 5, "\ue000": 6, "😀": 7, "\uffff": 8 }],
    "nested keys keep their order": [{ b: { z: 1, a: 2 }, a: [{ z: 1, a: 2 }] }, [{ z: 1, a: 2 }]],
    "depth 64": [Array.from({ length: 63 }).reduce((inner) => [inner], [])],
};

const { version } = JSON.parse(readFileSync(new URL("../node_modules/@ezez/utils/package.json", import.meta.url)));
const rows = Object.entries(vectors).map(([name, values]) => JSON.stringify({
    name,
    values: values.map(describe),
    hex: serializeToBuffer(Buffer, [], ...values).toString("hex"),
}));
const file = new URL("../data/golden_vectors.json", import.meta.url);
writeFileSync(file, `{"generator": "@ezez/utils ${version}", "vectors": [\n${rows.join(",\n")}\n]}\n`);
