"""Masking: in pure Python, and by the C extension where that is installed; both give the same bytes."""

import subprocess
import sys
import types
import unittest
from unittest import mock

from ezez_ws.transport import masking
from ezez_ws.transport.masking import Masks, apply_mask, load_speedups
from tests.support import EZEZTestCase

MAY_RUN_BESIDE = True

MASK = b"\x11\x22\x33\x44"

SERVER_STARTED = """
import sys
{before}
from ezez_ws import EZEZWebsocketServer
from ezez_ws.transport import masking
with EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True):
    print(masking._quick is not None)
"""


def masked(payload: bytes) -> bytes:
    return bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


class InPython(EZEZTestCase):
    def setUp(self) -> None:
        super().setUp()
        patcher = mock.patch.object(masking, "_quick", None)
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_masking_by_pieces_is_masking_whole(self) -> None:
        payload = bytes(range(256)) * 3
        whole = masked(payload)
        self.assertEqual(apply_mask(payload, MASK), whole)
        for i in range(len(payload)):
            self.assertEqual(apply_mask(payload[i:], MASK, i), whole[i:])

    def test_masking_is_the_same_at_every_size(self) -> None:
        for size in (0, 1, 8191, 8192, 8193, 16384, 30001):
            payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
            whole = masked(payload)
            self.assertEqual(apply_mask(payload, MASK), whole)
            self.assertEqual(apply_mask(payload[3:], MASK, 3), whole[3:])


@unittest.skipUnless(load_speedups(), "the extra speedups (websockets) is not installed")
class ByTheExtension(InPython):
    def setUp(self) -> None:
        super().setUp()
        load_speedups.__wrapped__()
        self.assertIsNotNone(masking._quick)


class Loading(EZEZTestCase):
    def test_a_server_that_starts_takes_the_extension_where_it_is_installed(self) -> None:
        self.assertEqual(self._run(""), str(load_speedups()))

    def test_a_server_does_without_it(self) -> None:
        self.assertEqual(self._run("sys.modules['websockets.speedups'] = None"), "False")

    def test_an_extension_that_masks_otherwise_is_left_alone(self) -> None:
        other = types.ModuleType("websockets.speedups")
        other.apply_mask = lambda payload, mask: payload  # type: ignore[attr-defined]
        modules = {"websockets": types.ModuleType("websockets"), "websockets.speedups": other}
        with mock.patch.object(masking, "_quick", None), mock.patch.dict(sys.modules, modules):
            self.assertFalse(load_speedups.__wrapped__())
            self.assertIsNone(masking._quick)

    def _run(self, before: str) -> str:
        command = [sys.executable, "-c", SERVER_STARTED.format(before=before)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


class Keys(EZEZTestCase):
    def test_masks_are_four_bytes_and_do_not_repeat(self) -> None:
        masks = Masks()
        keys = [masks.next() for _ in range(2000)]
        self.assertEqual({len(key) for key in keys}, {4})
        self.assertGreater(len(set(keys)), 1990)  # by chance two of 2,000 may be the same, ten hardly


if __name__ == "__main__":
    unittest.main()
