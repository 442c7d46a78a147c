"""``ezez-ws contract``: write a contract in another form, or ask a server whether it implements the same."""

import argparse
import importlib
import json
import os
import sys
from typing import Any

from ..calls.contract import methods_of
from ..calls.implement import CONTRACT_EVENT
from ..errors import MalformedMessage
from .arguments import add_connecting, add_seconds, connected, make_client
from .outcome import ContractsDiffer, UsageError
from .output import notice, write_line

__all__ = ["add_arguments", "run"]

_CHECK = "check"
_FORMS = ("typescript", "asyncapi", "markdown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="+", metavar="[check URL] MODULE:CONTRACT", help="the contract; after check and a URL: compare"
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--typescript", dest="form", action="store_const", const="typescript", help="types for a page")
    forms.add_argument("--asyncapi", dest="form", action="store_const", const="asyncapi", help="AsyncAPI 3.0, as JSON")
    forms.add_argument("--markdown", dest="form", action="store_const", const="markdown", help="a page to read")
    add_connecting(parser)
    add_seconds(parser, "--timeout", 10.0, "to wait for the server's contract")


def run(options: argparse.Namespace) -> None:
    *check, name = options.what
    if check and (check[0] != _CHECK or len(check) != 2):
        raise UsageError("needed: MODULE:CONTRACT and a form, or: check URL MODULE:CONTRACT")
    if bool(check) == bool(options.form):
        raise UsageError("a form (--typescript, --asyncapi, --markdown) is needed without check, and none with it")
    contract = _find(name)
    if check:
        options.url = check[1]
        _check(options, contract)
    else:
        for line in _write(options.form, contract).splitlines():
            write_line(line)


def _find(name: str) -> Any:
    """Import the contract, of which the module may be in the current directory."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(f"a contract is named as module:Name, not {name!r}")
    sys.path.insert(0, os.getcwd())
    try:
        contract: Any = importlib.import_module(module)
        for part in attribute.split("."):
            contract = getattr(contract, part)
        methods_of(contract)
    except Exception as error:  # whatever the module raises
        raise UsageError(f"{name}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    return contract


def _write(form: str, contract: Any) -> str:
    from ..calls.asyncapi import write_asyncapi
    from ..calls.describe import describe, fingerprint
    from ..calls.markdown import write_markdown
    from ..calls.typescript import write_typescript

    described = describe(contract), fingerprint(contract)
    if form == "asyncapi":
        return json.dumps(write_asyncapi(*described), indent=2)
    return write_typescript(*described) if form == "typescript" else write_markdown(*described)


def _check(options: argparse.Namespace, contract: Any) -> None:
    from ..calls.describe import differences, essence

    client = make_client(options)
    with connected(options, client):
        answer = client.call(CONTRACT_EVENT, [contract.__name__], timeout=options.timeout)
    try:
        found = list(differences(json.loads(essence(contract)), json.loads(answer)))
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedMessage(f"the server's answer is no contract: {error}") from error
    for line in found:
        write_line(line)
    if found:
        raise ContractsDiffer(f"{contract.__name__} of the server is another")
    notice(f"{contract.__name__}: the same")
