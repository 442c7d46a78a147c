"""Masking: in Python, and by the C extension where it has been built; both give the same bytes."""

import unittest

from ezez_ws.messages.speedups import compiled
from ezez_ws.websocket.frames import Masks, _apply_mask, apply_mask
from tests.support import EZEZTestCase

MAY_RUN_BESIDE = True
ABOUT_THE_EXTENSION = True

MASK = b"\x11\x22\x33\x44"


def masked(payload: bytes) -> bytes:
    return bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


class InPython(EZEZTestCase):
    apply_mask = staticmethod(_apply_mask)

    def test_masking_by_pieces_is_masking_whole(self) -> None:
        payload = bytes(range(256)) * 3
        whole = masked(payload)
        self.assertEqual(self.apply_mask(payload, MASK), whole)
        for i in range(len(payload)):
            self.assertEqual(self.apply_mask(payload[i:], MASK, i), whole[i:])

    def test_masking_is_the_same_at_every_size(self) -> None:
        for size in (*range(40), 8191, 8192, 8193, 16384, 30001):
            payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
            whole = masked(payload)
            self.assertEqual(self.apply_mask(payload, MASK), whole)
            self.assertEqual(self.apply_mask(payload[3:], MASK, 3), whole[3:])


@unittest.skipIf(compiled is None, "the C extension is not there")
class ByTheExtension(InPython):
    apply_mask = staticmethod(apply_mask)

    def test_it_is_what_the_library_uses(self) -> None:
        self.assertIs(compiled.apply_mask, apply_mask)


class Keys(EZEZTestCase):
    def test_masks_are_four_bytes_and_do_not_repeat(self) -> None:
        masks = Masks()
        keys = [masks.next() for _ in range(2000)]
        self.assertEqual({len(key) for key in keys}, {4})
        self.assertGreater(len(set(keys)), 1990)  # by chance two of 2,000 may be the same, ten hardly


if __name__ == "__main__":
    unittest.main()
