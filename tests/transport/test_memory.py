"""The memory of large messages."""

import platform
import unittest

from tests.support import EZEZTestCase
from tests.test_regressions import run_script

CODE = """
    import resource
    from ezez_ws import EZEZWebsocketServer, EZEZWebSocketClient

    ROUNDS, SIZE = 20, 900_000

    def page_faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    with EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True) as server:
        server.on("echo", lambda client, args, reply, ids: reply("echo", [len(args[0])]))
        with EZEZWebSocketClient(server.url) as client:
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
        copies = float(run_script(CODE)[0])
        self.assertLess(copies, 2.0)  # of the message, in fresh pages; else there are some five of them
