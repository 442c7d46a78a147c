"""The other forms of a contract, of which the compiler of TypeScript and AsyncAPI's own parser judge two."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from ezez_ws import browser
from ezez_ws.calls.asyncapi import write_asyncapi
from ezez_ws.calls.describe import describe, differences, essence, fingerprint
from ezez_ws.calls.markdown import write_markdown
from ezez_ws.calls.typescript import write_typescript
from tests.support import NODE_MODULES, REPO, EZEZTestCase, needs_node, needs_pydantic

MAY_RUN_BESIDE = True

COMPILER = NODE_MODULES / "typescript" / "bin" / "tsc"

OPTIONS = (
    *("--strict", "--noEmit", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--target", "es2022"),
    *("--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom"),
)

RIGHT = """\
import type { Everything, ItemInput, Tree } from "./everything";
import type { Shop } from "./shop";
import { EZEZWebSocketClient } from "./ezez-ws.js";
const client = new EZEZWebSocketClient("ws://127.0.0.1:8080");
const shop = client.proxy<Shop>({ notices: ["sold"] });
const all = client.proxy<Everything>();
async function use(): Promise<void> {
    const price: string = await shop.price("tea");
    shop.sold(price);
    shop.sold("tea", 2);
    const nothing: void = await all.nothing();
    const item: ItemInput = { name: "tea", size: "small", price: "1.00" };
    const items = await all.item(item, [1, 2], 1, 2, 3);
    const large: boolean = items[0]!.size === "large";
    const tree: Tree | null = await all.tree({ name: "a", parts: [{ name: "b", function: 'b"c' }] });
    const pair: boolean[] = await all.mixed({ a: 1, b: ["x", null] }, [1, "x"]);
    const bytes: Uint8Array = await all.raw(new Uint8Array(1), { any: "thing" });
    const told: unknown = await all.animal({ kind: "dog", years: 1 }, "2026-01-01", "2026-01-01T00:00:00Z", "x");
    const numbers: number[] = await all["named.otherwise"](1.5);
}
"""

# each in the place of the body of a function
WRONG = (
    "const price: number = await shop.price('tea');",
    "await shop.price(5);",
    "await shop.price();",
    "shop.sold('tea', 'x');",
    "await shop.sold('tea').then();",
    "await shop.nothing();",
    "await all.item({ name: 'tea', size: 'huge' }, [1, 2]);",
    "await all.item({ size: 'small' }, [1, 2]);",
    "await all.item({ name: 'tea' }, [1, 2], 'x');",
    "await all.tree({ name: 'a', parts: [{}] });",
    "await all.tree({ name: 'a', function: 'c' });",
    "await all.mixed({ a: 'x' }, [1, 'x']);",
    "await all.mixed({}, [1, 'x', 3]);",
    "await all.raw('x', 1);",
    "await all.animal({ kind: 'cow' }, '', '', '');",
    "await all.named(1);",
    "client.proxy<Shop>({ notices: ['price'] });",
)

PHONE_OPTIONS = '{ notices: ["news_flash"], events: { "phone.hang_up": "phone.hang_up" } }'

PARSE = """\
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
const parser = new Parser();
for (const text of JSON.parse(readFileSync(0, "utf-8"))) {
    const { document, diagnostics } = await parser.parse(text);
    const found = diagnostics.filter(({ severity }) => !severity);
    const operations = document?.operations().all().map((one) => one.id());
    console.log(JSON.stringify([found.map(({ message, path }) => [message, path.join(".")]), operations]));
}
"""

PRINT = """\
from tests.calls.contracts import Everything
from ezez_ws.calls.describe import fingerprint
print(fingerprint(Everything))
"""


def forms(contract: Any) -> tuple[Any, str]:
    return describe(contract), fingerprint(contract)


@needs_pydantic
class TypeScriptTest(EZEZTestCase):
    @needs_node
    def test_the_strictest_compiler_takes_a_right_page_and_refuses_each_wrong_use(self) -> None:
        from tests.calls.contracts import Everything, Shop

        head = RIGHT.partition("async function")[0].replace("\n", " ")
        wrong = [f"async function wrong{index}() {{ {body} }}" for index, body in enumerate(WRONG, 2)]
        files = {"right.ts": RIGHT, "wrong.ts": "\n".join([head, *wrong])}
        files["ezez-ws.d.ts"] = (browser.PATH / "ezez-ws.d.ts").read_text("utf-8")
        files |= {f"{one.__name__.lower()}.d.ts": write_typescript(*forms(one)) for one in (Everything, Shop)}
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                Path(folder, name).write_text(text, "utf-8")
            command = ["node", str(COMPILER), *OPTIONS, "right.ts", "wrong.ts"]
            said = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=50).stdout
        found = {line.partition(",")[0] for line in said.splitlines() if not line.startswith(" ")}
        self.assertEqual({f"wrong.ts({line}" for line in range(2, 2 + len(WRONG))}, found, said)

    def test_methods_return_promises_and_notices_nothing(self) -> None:
        from tests.calls.contracts import Shop

        text = write_typescript(*forms(Shop))
        self.assertIn("/** What an article costs. */\n    price(article: string): Promise<string>;", text)
        self.assertIn("sold(article: string, count?: number): void;", text)

    def test_it_says_what_a_proxy_has_to_be_told(self) -> None:
        from tests.calls.contracts import Everything, Phone, Shop

        for contract, options in ((Shop, '{ notices: ["sold"] }'), (Everything, ""), (Phone, PHONE_OPTIONS)):
            text = write_typescript(*forms(contract))
            self.assertIn(f"`client.proxy<{contract.__name__}>({options})`", text)


@needs_pydantic
class AsyncAPITest(EZEZTestCase):
    @needs_node
    def test_the_official_parser_finds_no_errors(self) -> None:
        from tests.calls.contracts import Everything, Phone, Shop

        contracts = Shop, Phone, Everything
        documents = json.dumps([json.dumps(write_asyncapi(*forms(one))) for one in contracts])
        command = ["node", "--input-type=module", "-e", PARSE]
        done = subprocess.run(
            command, input=documents, cwd=NODE_MODULES.parent, capture_output=True, encoding="utf-8", timeout=50
        )
        names = [[method["name"] for method in describe(one)["methods"]] for one in contracts]
        self.assertEqual([[[], each] for each in names], [json.loads(line) for line in done.stdout.splitlines()], done)

    def test_docstrings_are_descriptions_and_schemas_are_shared(self) -> None:
        from tests.calls.contracts import Everything, Shop

        self.assertEqual("Sells things.", write_asyncapi(*forms(Shop))["info"]["description"])
        document = write_asyncapi(*forms(Everything))
        self.assertIn("In several lines", document["operations"]["item"]["description"])
        self.assertIn("Tree", document["components"]["schemas"])


@needs_pydantic
class MarkdownTest(EZEZTestCase):
    def test_it_tells_of_each_method_and_type(self) -> None:
        from tests.calls.contracts import Everything, Shop

        text = write_markdown(*forms(Shop))
        for part in ("# Shop", "Sells things.", "## price", "What an article costs.", "| `article` | `string` |"):
            self.assertIn(part, text)
        text = write_markdown(*forms(Everything))
        self.assertIn("What it is called \\| how", text)
        self.assertIn("default `3`; > 0, <= 9", text)


@needs_pydantic
class FingerprintTest(EZEZTestCase):
    def test_it_is_the_same_in_another_process(self) -> None:
        from tests.calls.contracts import Everything

        done = subprocess.run(
            [sys.executable, "-c", PRINT], cwd=REPO, capture_output=True, encoding="utf-8", timeout=60, check=True
        )
        self.assertEqual(fingerprint(Everything), done.stdout.strip())

    def test_it_is_the_same_on_every_python_and_with_every_pydantic(self) -> None:
        from tests.calls.contracts import Everything, Shop

        self.assertEqual(
            ["b4c871b3c7430862", "be26a77293c2b3cf"], [fingerprint(one)[:16] for one in (Shop, Everything)]
        )

    def test_words_do_not_count_and_types_do(self) -> None:
        from abc import abstractmethod

        from ezez_ws import Contract

        def make(annotation: Any, words: str) -> Any:
            def ask(self: Any, a: Any) -> None: ...

            ask.__annotations__["a"] = annotation
            ask.__doc__ = words
            return type("Made", (Contract,), {"ask": abstractmethod(ask), "__doc__": words})

        self.assertEqual(fingerprint(make(int, "one")), fingerprint(make(int, "two")))
        self.assertNotEqual(fingerprint(make(int, "one")), fingerprint(make(str, "one")))
        here, there = (json.loads(essence(make(one, ""))) for one in (int, str))
        self.assertEqual(
            ['methods.ask.parameters[0].schema.type: here "integer", there "string"'], list(differences(here, there))
        )

    def test_differences_are_found_wherever_they_are(self) -> None:
        here = {"a": [1, {"b": 2}, 3], "b": {}, "c": True, "e": 0, "f": [], "g": 1}
        there = {"a": [1, {"b": 3}], "b": {"x": 1}, "c": 1, "d": None, "e": 0, "f": {}}
        found = [
            *("a[1].b: here 2, there 3", "a[2]: only here: 3", "b.x: only there: 1", "c: here true, there 1"),
            *("f: here [], there {}", "g: only here: 1", "d: only there: null"),
        ]
        self.assertEqual(found, list(differences(here, there)))
        self.assertEqual([], list(differences(here, json.loads(json.dumps(here)))))


if __name__ == "__main__":
    unittest.main()
