"""Certificates on the command line: of whom one trusts, and one's own."""

import contextlib
import io
import ssl
import tempfile
import unittest
from pathlib import Path
from typing import Any

import trustme

from ezez_ws import EZEZWebsocketServer
from ezez_ws.cli.main import parse
from ezez_ws.cli.serve import make_relay
from tests.cli.running import Done, Program, invoke, run
from tests.serving import KEY, ServingTestCase

MOSTLY_WAITS = True


class TLSTestCase(ServingTestCase):
    """With certificates in files of a folder: of two authorities, and signed by the first of them."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.authority = trustme.CA()
        self.files = {
            "ca": self.authority.cert_pem.bytes(),
            "other-ca": trustme.CA().cert_pem.bytes(),
            "none": b"not a certificate",
            "broken": b"-----BEGIN CERTIFICATE-----\naaaa\n-----END CERTIFICATE-----\n",
        }
        for name in ("server", "client"):
            issued = self.authority.issue_cert("127.0.0.1", common_name=name)
            self.files[name] = issued.cert_chain_pems[0].bytes()
            self.files[f"{name}-key"] = issued.private_key_pem.bytes()
            self.files[f"{name}-both"] = issued.private_key_and_cert_chain_pem.bytes()
        self.paths = {name: str(Path(folder.name) / name) for name in [*self.files, "missing"]}
        for name, content in self.files.items():
            Path(self.paths[name]).write_bytes(content)

    def given(self, *args: str) -> list[str]:
        """The arguments, with paths for the names of files."""
        return [self.paths.get(arg, arg) for arg in args]


class ClientTest(TLSTestCase):
    def serve_tls(self, asks: bool = False, **options: Any) -> EZEZWebsocketServer:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.paths["server-both"])
        if asks:
            context.load_verify_locations(self.paths["ca"])
            context.verify_mode = ssl.CERT_REQUIRED
        return self.serve(ssl=context, **options)

    def send(self, server: EZEZWebsocketServer, *args: str) -> Done:
        return invoke("send", str(server.url), "e", "--auth", KEY, *self.given(*args))

    def test_a_certificate_is_taken_where_one_trusts_who_signed_it(self) -> None:
        server = self.serve_tls()
        for args in ([], ["--cacert", "other-ca"]):
            done = self.send(server, *args)
            self.assertEqual((1, ""), (done.code, done.out))
            self.assertIn("certificate verify failed", done.err)
        for args in (["--cacert", "ca"], ["--insecure"]):
            self.assertEqual((0, "", ""), self.send(server, *args))

    def test_a_certificate_of_ones_own_is_shown(self) -> None:
        server = self.serve_tls(asks=True)
        self.assertEqual(1, self.send(server, "--cacert", "ca").code)
        for args in (["--cert", "client-both"], ["--cert", "client", "--cert-key", "client-key"]):
            for trust in (["--cacert", "ca"], ["--insecure"]):
                self.assertEqual((0, "", ""), self.send(server, *args, *trust))

    def test_what_is_wrong_names_the_option_and_the_file(self) -> None:
        for args, said in (
            (["--cacert", "missing"], "--cacert {missing}: No such file or directory"),
            (["--cacert", "none"], "--cacert {none}: there is no certificate in PEM form in it"),
            (["--cacert", "broken"], "--cacert {broken}: "),
            (["--cert", "missing"], "--cert {missing}: No such file or directory"),
            (["--cert", "none"], "--cert {none}: there is no certificate in PEM form"),
            (["--cert", "client"], "--cert {client}: there is no private key in PEM form in it; --cert-key names"),
            (["--cert", "client", "--cert-key", "missing"], "--cert-key {missing}: No such file or directory"),
            (["--cert", "client", "--cert-key", "ca"], "--cert-key {ca}: there is no private key"),
            (["--cert", "client", "--cert-key", "server-key"], "{server-key}: this is the key of another certificate"),
            (["--cert-key", "client-key"], "--cert-key, the key of a certificate, needs --cert"),
            (["--cacert", "ca", "--insecure"], "--insecure"),
        ):
            with self.subTest(args):
                done = invoke("send", "wss://127.0.0.1:1", "e", *self.given(*args))
                self.assertEqual((2, ""), (done.code, done.out))
                self.assertIn(said.format(**self.paths), done.err)

    def test_certificates_without_encryption_are_refused(self) -> None:
        for option in ("--cacert", "--cert", "--cert-key"):
            done = invoke("send", "ws://127.0.0.1:1", "e", option, self.paths["ca"])
            self.assertEqual((2, f"ezez-ws: {option} is for wss:// URLs only\n"), (done.code, done.err))


class ServeTest(TLSTestCase):
    def test_with_a_certificate_the_relay_is_encrypted(self) -> None:
        with Program(*self.given("serve", "--port", "0", "--cert", "server", "--cert-key", "server-key")) as relay:
            url = relay.read_line().split()[2].rstrip(",")
            self.assertEqual("wss://", url[:6])
            self.assertEqual(0, run(*self.given("call", url, "echo", "--cacert", "ca")).code)

    def test_it_takes_only_clients_with_a_certificate_where_it_is_told_whom_to_trust(self) -> None:
        options = parse(self.given("serve", "--port", "0", "--cert", "server-both", "--cacert", "ca"))
        with contextlib.redirect_stdout(io.StringIO()), make_relay(options).server as server:
            url = str(server.url)
            self.assertEqual(1, invoke(*self.given("call", url, "echo", "--cacert", "ca")).code)
            done = invoke(*self.given("call", url, "echo", "--cacert", "ca", "--cert", "client-both"))
            self.assertEqual(0, done.code)

    def test_what_is_wrong_names_the_option_and_the_file(self) -> None:
        for args, said in (
            (["--cert", "missing"], "--cert {missing}: No such file or directory"),
            (["--cert", "server"], "--cert {server}: there is no private key"),
            (["--cert-key", "server-key"], "needs --cert"),
            (["--cacert", "ca"], "needs --cert"),
            (["--cert", "server-both", "--cacert", "none"], "--cacert {none}: there is no certificate"),
        ):
            with self.subTest(args):
                done = invoke("serve", *self.given(*args))
                self.assertEqual((2, ""), (done.code, done.out))
                self.assertIn(said.format(**self.paths), done.err)


if __name__ == "__main__":
    unittest.main()
