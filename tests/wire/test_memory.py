"""The memory of large messages."""

import pathlib
import platform
import tempfile
import unittest

import trustme

from tests.scripts import run_script
from tests.support import EZEZTestCase

CODE = """
    import resource, ssl, sys
    from ezez_ws import EZEZWebsocketServer, EZEZWebSocketClient

    ROUNDS, SIZE = 20, 900_000

    def page_faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    certificate = sys.argv[1] or None
    theirs = ours = None
    if certificate:
        theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        theirs.load_cert_chain(certificate)
        ours = ssl.create_default_context(cafile=certificate)
    with EZEZWebsocketServer(port=0, ssl=theirs, on_auth_request=lambda client, key: True) as server:
        server.on("echo", lambda client, args, reply, ids: reply("echo", [len(args[0])]))
        with EZEZWebSocketClient(server.url, ssl=ours) as client:
            def ask():
                assert client.send("echo", [bytes(SIZE)]).wait_reply(timeout=10).args == [SIZE]

            for _ in range(10):  # until the memory is there
                ask()
            before = page_faults()
            for _ in range(ROUNDS):
                ask()
            print((page_faults() - before) * resource.getpagesize() / SIZE / ROUNDS)
"""


@unittest.skipUnless(platform.libc_ver()[0] == "glibc", "other C libraries have other ways")
class KeepFreedMemoryTest(EZEZTestCase):
    def test_a_large_message_is_not_paid_for_in_page_faults(self) -> None:
        self.check("")

    def test_nor_is_one_over_tls(self) -> None:
        authority = trustme.CA()
        server = authority.issue_cert("127.0.0.1")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "all.pem")
            path.write_bytes(server.private_key_and_cert_chain_pem.bytes() + authority.cert_pem.bytes())
            self.check(str(path))

    def check(self, certificate: str) -> None:
        copies = float(run_script(CODE, certificate)[0])
        self.assertLess(copies, 2.0)  # of the message, in fresh pages; else there are four to eight
