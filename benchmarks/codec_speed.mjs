// What codec_speed.py does, with the reference serializer: `node codec_speed.mjs SECONDS`.

import { createRequire } from "node:module";

const require = createRequire(new URL("../tests/", import.meta.url)); // tests/package.json has its packages
const { serializeToBuffer, unserializeFromBuffer } = require("@ezez/utils");

const PERSON = { id: 123456, name: "Some Body Or Other, Esq", active: true, score: 12.5 };

const MESSAGES = {
    'small: ["ping", 1, null, "hello"]': ["ping", 1, null, "hello"],
    mixed: ["move", 42, 7, { x: 1.5, y: -20, to: [3, 4], by: "anna lindqvist (oslo)", fast: true }],
    "50 dicts of 4 keys": ["people", 7, null, Array.from({ length: 50 }, (_, number) => ({ ...PERSON, id: number }))],
    binary: ["file", 9, null, Buffer.alloc(64 << 10)],
};

const speed = (action, seconds) => {
    let count = 1;
    for (;;) {
        const start = performance.now();
        for (let done = 0; done < count; done++) {
            action();
        }
        const elapsed = (performance.now() - start) / 1000;
        if (elapsed >= seconds) {
            return count / elapsed;
        }
        count = Math.max(count + 1, Math.min(count * 10, Math.floor(count * seconds * 1.1 / Math.max(elapsed, 1e-9))));
    }
};

const seconds = Number(process.argv[2]);
const speeds = {};
for (const [name, values] of Object.entries(MESSAGES)) {
    const data = serializeToBuffer(Buffer, [], ...values);
    speeds[name] = {
        encode: speed(() => serializeToBuffer(Buffer, [], ...values), seconds),
        decode: speed(() => unserializeFromBuffer(Buffer, [], data), seconds),
        bytes: data.length,
    };
}
process.stdout.write(`${JSON.stringify(speeds)}\n`);
