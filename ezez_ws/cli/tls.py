"""Certificates on the command line: whom to trust, and who one is. ``ssl`` takes longer to import than all the rest."""

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..opening.url import parse_url
from .outcome import UsageError

if TYPE_CHECKING:
    import ssl

__all__ = ["add_client_tls", "add_server_tls", "client_context", "server_context"]

_WITHOUT_KEY = ("--cert", "private key")


def add_client_tls(parser: argparse.ArgumentParser) -> None:
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--cacert", metavar="FILE", help="wss://: trust those of this PEM file, and no others")
    trust.add_argument("--insecure", action="store_true", help="wss://: take any certificate")
    _add_certificate(parser, "wss://: the client's certificate to show, a PEM file")


def add_server_tls(parser: argparse.ArgumentParser) -> None:
    _add_certificate(parser, "the server's certificate, a PEM file: the relay is wss:// then")
    parser.add_argument("--cacert", metavar="FILE", help="take only clients with a certificate signed by one of these")


def _add_certificate(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--cert", metavar="FILE", help=meaning)
    parser.add_argument("--cert-key", metavar="FILE", help="its private key, where that is not in the same file")


def client_context(options: argparse.Namespace) -> "ssl.SSLContext | None":
    """Make the context that the options ask for, ``None`` for the usual one. ``UsageError``: an option is wrong."""
    files = {"--cacert": options.cacert, "--cert": options.cert, "--cert-key": options.cert_key}
    given = [name for name, file in files.items() if file is not None]
    if not parse_url(options.url).secure:
        if given:
            raise UsageError(f"{given[0]} is for wss:// URLs only")
        return None
    if not given and not options.insecure:
        return None
    import ssl

    with _reading("--cacert", options.cacert, "certificate"):
        context = ssl.create_default_context(cafile=options.cacert)
    if options.insecure:  # encryption without knowing to whom
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_certificate(context, options)
    return context


def server_context(options: argparse.Namespace) -> "ssl.SSLContext | None":
    """Make the context of a server, ``None`` without ``--cert``. ``UsageError``: an option is wrong."""
    if options.cert is None:
        if options.cacert is not None:
            raise UsageError("--cacert, whose clients to take, needs --cert, the server's own certificate")
        _load_certificate(None, options)
        return None
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_certificate(context, options)
    if options.cacert is not None:
        with _reading("--cacert", options.cacert, "certificate"):
            context.load_verify_locations(options.cacert)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_certificate(context: "ssl.SSLContext | None", options: argparse.Namespace) -> None:
    if options.cert is None:
        if options.cert_key is not None:
            raise UsageError("--cert-key, the key of a certificate, needs --cert, the certificate itself")
        return
    assert context is not None
    with _reading("--cert", options.cert, "certificate"):
        pass
    holder = "--cert" if options.cert_key is None else "--cert-key"
    with _reading(holder, options.cert_key or options.cert, "private key"):
        context.load_cert_chain(options.cert, options.cert_key)


@contextlib.contextmanager
def _reading(option: str, file: str | None, wanted: str) -> Iterator[None]:
    """Check that a file has what is wanted of it, and let whatever goes wrong with it name the option and the file."""
    try:
        if file is not None:
            with open(file, "rb") as content:
                if f"{wanted.upper()}-----".encode() not in content.read():
                    hint = "; --cert-key names the file that has it" if (option, wanted) == _WITHOUT_KEY else ""
                    raise UsageError(f"{option} {file}: there is no {wanted} in PEM form in it{hint}")
        yield
    except OSError as error:  # an ssl.SSLError is one, too
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        if reason == "KEY_VALUES_MISMATCH":
            reason = "this is the key of another certificate"
        raise UsageError(f"{option} {file}: {reason}") from None
