"""The browser module's types, checked by TypeScript's own compiler and against the module itself."""

import re
import subprocess
import unittest

from ezez_ws import browser
from tests.browser.page import Page
from tests.support import NODE_MODULES, REPO, EZEZTestCase, needs_node

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

TYPES = browser.PATH / "ezez-ws.d.ts"
COMPILER = NODE_MODULES / "typescript" / "bin" / "tsc"


@needs_node
class TypesTest(EZEZTestCase):
    def test_the_strictest_compiler_takes_them_and_refuses_wrong_uses(self) -> None:
        options = ["--strict", "--noEmit", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"]
        options += ["--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"]
        done = subprocess.run(
            ["node", str(COMPILER), *options, "tests/browser/usage.ts"],
            cwd=REPO,
            capture_output=True,
            encoding="utf-8",
            timeout=50,
        )
        self.assertEqual((done.stdout, done.returncode), ("", 0))

    def test_what_the_module_exports_is_declared_and_the_other_way_round(self) -> None:
        declared = re.findall(r"^export (?:class|const) (\w+)", TYPES.read_text("utf-8"), re.MULTILINE)
        page = self.page()
        self.assertEqual(set(declared), set(page.evaluate("Object.keys(exported)")))

    def test_each_member_and_option_of_the_client_is_declared_and_no_other(self) -> None:
        text = TYPES.read_text("utf-8")
        page = self.page()
        members = page.evaluate("Object.getOwnPropertyNames(EZEZWebSocketClient.prototype)")
        self.assertEqual(self.names_in(text, "class EZEZWebSocketClient"), set(members))
        options = self.names_in(text, "interface Options") | self.names_in(text, "interface CodecOptions")
        self.assertEqual(options, self.names_known("new EZEZWebSocketClient('ws://x', { nothing: 0 })"))
        callbacks = self.names_in(text, "interface Callbacks")
        self.assertEqual(callbacks, self.names_known("new EZEZWebSocketClient('ws://x', {}, { nothing: 0 })"))

    def page(self) -> Page:
        page = Page()
        self.addCleanup(page.close)
        return page

    def names_in(self, text: str, head: str) -> set[str]:
        """The members that a class or an interface declares."""
        body = text.split(f"export {head}", 1)[1].split("\n}\n", 1)[0]
        return set(re.findall(r"^    (?:readonly )?(\w+)\??[:(<]", body, re.MULTILINE))

    def names_known(self, wrong: str) -> set[str]:
        """The names that the error about an unknown one lists."""
        message = self.page().run(f"try {{ {wrong} }} catch (error) {{ return error.message; }}")
        return set(re.findall(r"\w+", message.split("one of ")[1].split(", not")[0]))


if __name__ == "__main__":
    unittest.main()
