"""``ezez-ws contract``: a contract in its other forms, and compared with a server's."""

import json
import os
import unittest
from decimal import Decimal
from typing import Any

from ezez_ws import EZEZWebsocketServer
from ezez_ws.cli.outcome import ExitCode
from tests.cli.running import invoke
from tests.support import EZEZTestCase, needs_pydantic

MAY_RUN_BESIDE = True

SHOP = "tests.calls.contracts:Shop"


@needs_pydantic
class FormsTest(EZEZTestCase):
    def test_each_form_is_printed(self) -> None:
        done = invoke("contract", SHOP, "--typescript")
        self.assertEqual((0, ""), (done.code, done.err))
        self.assertIn("export interface Shop {\n", done.out)
        self.assertEqual("3.0.0", json.loads(invoke("contract", SHOP, "--asyncapi").out)["asyncapi"])
        self.assertIn("# Shop\n\nSells things.\n", invoke("contract", SHOP, "--markdown").out)

    def test_what_is_given_wrong_is_said(self) -> None:
        for args, words in (
            ((SHOP,), "--typescript"),
            (("check", "ws://127.0.0.1:1", SHOP, "--markdown"), "none with it"),
            ((SHOP, SHOP, "--markdown"), "check URL MODULE:CONTRACT"),
            (("check", SHOP), "check URL MODULE:CONTRACT"),
            (("shop", "--markdown"), "module:Name"),
            (("no_such_module:Shop", "--markdown"), "No module named 'no_such_module'"),
            (("tests.calls.contracts:Nothing", "--markdown"), "no attribute 'Nothing'"),
            (("tests.calls.contracts:Item", "--markdown"), "must be a class derived from Contract"),
        ):
            with self.subTest(args):
                done = invoke("contract", *args)
                self.assertEqual((ExitCode.USAGE, ""), (done.code, done.out))
                self.assertIn(words, done.err)


@needs_pydantic
class CheckTest(EZEZTestCase):
    def serve(self, contract: Any, made: Any) -> str:
        server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True)
        if contract is not None:
            server.implement(contract, made)
        self.addCleanup(server.close)
        server.start()
        assert server.url is not None
        return server.url

    def test_the_same_contract_is_said_to_be(self) -> None:
        from tests.calls.contracts import Shop

        class Desk(Shop):
            def __init__(self, client: Any) -> None: ...

            def price(self, article: str) -> Decimal:
                return Decimal(1)

            def sold(self, article: str, count: int = 1) -> None: ...

        done = invoke("contract", "check", self.serve(Shop, Desk), SHOP)
        self.assertEqual((0, ""), (done.code, done.out))
        self.assertIn("Shop", done.err)

    def test_differences_are_printed_and_tell_in_the_exit_code(self) -> None:
        from abc import abstractmethod

        from ezez_ws import Contract

        class Shop(Contract):
            @abstractmethod
            def price(self, article: int) -> Decimal: ...

        made = type("Desk", (Shop,), {"price": lambda self, article: 1, "__init__": lambda self, client: None})
        done = invoke("contract", "check", self.serve(Shop, made), SHOP)
        self.assertEqual(ExitCode.DIFFERENT, done.code)
        self.assertIn('methods.price.parameters[0].schema.type: here "string", there "integer"\n', done.out)
        self.assertIn("methods.sold: only here: ", done.out)

    def test_a_server_without_the_contract_says_which_it_has(self) -> None:
        from tests.calls.contracts import Phone

        done = invoke("contract", "check", self.serve(Phone, lambda client: None), SHOP)
        self.assertNotEqual(0, done.code)
        self.assertIn("Phone", done.err)

    def test_one_that_implements_none_does_not_answer(self) -> None:
        done = invoke("contract", "check", self.serve(None, None), SHOP, "--timeout", "0.2")
        self.assertEqual(ExitCode.NO_REPLY, done.code)


class DirectoryTest(EZEZTestCase):
    def test_a_module_of_the_current_directory_is_found_and_the_path_stays(self) -> None:
        import sys
        import tempfile

        path = sys.path[:]
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "a_module_of_here.py"), "w", encoding="utf-8") as file:
                file.write("raise ValueError('as it is')")
            before = os.getcwd()
            os.chdir(folder)
            try:
                done = invoke("contract", "a_module_of_here:Shop", "--markdown")
            finally:
                os.chdir(before)
        self.assertIn("as it is", done.err)
        self.assertEqual(path, sys.path)


if __name__ == "__main__":
    unittest.main()
