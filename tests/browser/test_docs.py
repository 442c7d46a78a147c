"""The JavaScript and TypeScript of the documents: it runs against the server of the same document's Python."""

import re
import shutil
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any

from ezez_ws import browser
from tests.browser.test_types import COMPILER, TYPES
from tests.support import NODE_MODULES, REPO, EZEZTestCase, needs_node
from tests.test_docs import DOCUMENTS
from tests.test_docs import blocks as python_blocks

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

PROMISE = re.compile(r"^ *(?:console\.log|client\.send)\(.*; // (.+)$", re.MULTILINE)
RUNNER = """
import {{ WebSocket }} from "ws";
globalThis.WebSocket = WebSocket;
globalThis.location = {{ href: "http://{address}/" }};
const fetchAbsolute = fetch;
globalThis.fetch = (path) => fetchAbsolute(new URL(path, location.href));
{code}
"""


def blocks(document: str, language: str) -> list[str]:
    text = (REPO / document).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@needs_node
class DocumentTest(EZEZTestCase):
    def test_the_javascript_of_each_document_runs_and_prints_what_it_says(self) -> None:
        documents = [document for document in DOCUMENTS if blocks(document, "js")]
        self.assertIn("docs/browser.md", documents)
        for document in documents:
            with self.subTest(document):
                self.check(document, "".join(blocks(document, "js")))

    def check(self, document: str, code: str) -> None:
        imports = code.replace('from "/ezez-ws.js"', f'from "{(browser.PATH / "ezez-ws.js").as_uri()}"')
        done = subprocess.run(
            ["node", "--input-type=module"],
            input=RUNNER.format(address=self.serve(document), code=imports),
            cwd=NODE_MODULES.parent,
            capture_output=True,
            encoding="utf-8",
            timeout=50,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        printed = iter(done.stdout.splitlines())
        for text in PROMISE.findall(code):
            self.assertIn(text, printed, f"not printed, or not in this place; all that was:\n{done.stdout}")

    def serve(self, document: str) -> str:
        """Run the document's Python, and serve the application that it has made."""
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:
                pass

        namespace: dict[str, Any] = {"__name__": "__main__"}
        for block in python_blocks(document):
            exec(block.code, namespace)
        web = make_server("127.0.0.1", 0, namespace["app"], threaded=True, request_handler=Quiet)
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(web.server_close)
        self.addCleanup(web.shutdown)
        self.addCleanup(namespace["server"].close)
        return f"127.0.0.1:{web.server_port}"

    def test_the_typescript_of_each_document_compiles(self) -> None:
        codes = [code for document in DOCUMENTS for code in blocks(document, "ts")]
        self.assertTrue(codes)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(TYPES, folder)
            for number, code in enumerate(codes):
                Path(folder, f"block{number}.ts").write_text(code, "utf-8")
            files = [f"block{number}.ts" for number in range(len(codes))]
            options = ["--strict", "--noEmit", "--module", "es2022", "--moduleResolution", "bundler"]
            command = ["node", str(COMPILER), *options, *files]
            done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=50)
        self.assertEqual((done.stdout, done.returncode), ("", 0))


class ReferenceTest(EZEZTestCase):
    """docs/browser.md against the types, which test_types.py compares with the module."""

    def table(self, section: str) -> dict[str, str]:
        text = (REPO / "docs/browser.md").read_text("utf-8")
        body = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
        return dict(re.findall(r"^\| `(\w+)[^|]*\| ([^|]*) \|", body, re.MULTILINE))

    def declared(self, head: str) -> set[str]:
        body = TYPES.read_text("utf-8").split(f"export {head}", 1)[1].split("\n}\n", 1)[0]
        return set(re.findall(r"^    (?:readonly )?(\w+)\??[:(<]", body, re.MULTILINE)) - {"constructor"}

    def test_each_option_stands_there_with_the_default_of_the_types(self) -> None:
        declared = re.findall(r"Default: (\S+)\.(?: \*/|\n     \*/)\n    (\w+)\?", TYPES.read_text("utf-8"))
        names = self.declared("interface Options") | self.declared("interface CodecOptions")
        documented = self.table("Options")
        self.assertEqual(set(documented), names)
        self.assertEqual(
            {name: documented[name] for _, name in declared}, {name: default for default, name in declared}
        )
        self.assertEqual(names - {name for _, name in declared}, {"serializers", "deserializers"})

    def test_each_callback_and_member_stands_there(self) -> None:
        self.assertEqual(set(self.table("Callbacks")), self.declared("interface Callbacks"))
        members = set(self.table("Methods")) | {"once", "off"}  # which share a row with on
        self.assertEqual(members, self.declared("class EZEZWebSocketClient"))

    def test_each_error_stands_there(self) -> None:
        text = (REPO / "docs/browser.md").read_text("utf-8")
        for name in re.findall(r"^export class (\w+) extends", TYPES.read_text("utf-8"), re.MULTILINE):
            self.assertIn(f"`{name}`", text)


if __name__ == "__main__":
    unittest.main()
