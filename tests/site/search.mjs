// Asks the search of the site that `make docs` has built, by the script that its pages run in a worker:
// `node search.mjs SITE WORD...` prints, for each word, the pages that it finds as a JSON array, best first.

import { readdirSync, readFileSync } from "node:fs";

const [site, ...words] = process.argv.slice(2);
const workers = `${site}/assets/javascripts/workers/`;
const script = readdirSync(workers).find((name) => /^search\..*\.js$/.test(name));

let receive;
let answered;
globalThis.self = globalThis;
globalThis.addEventListener = (_, listener) => { receive = listener; };
globalThis.postMessage = (message) => answered(message.data);
(0, eval)(readFileSync(workers + script, "utf8"));

const ask = (type, data) => new Promise((resolve) => {
    answered = resolve;
    receive({ data: { type, data } });
});

const index = JSON.parse(readFileSync(`${site}/search/search_index.json`, "utf8"));
await ask(0, { ...index, options: {} });
for (const word of words) {
    const { items } = await ask(2, word);
    // of each page the parts that match, best first; the page itself is among them, with a score of 0 where only parts do
    console.log(JSON.stringify(items.map((parts) => parts.reduce((a, b) => b.score > a.score ? b : a).location)));
}
