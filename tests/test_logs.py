"""What others say is escaped and cut before it is printed."""

import unittest

from ezez_ws.logs import shown

MAY_RUN_BESIDE = True


class ShownTest(unittest.TestCase):
    def test_what_can_be_printed_stays(self) -> None:
        for text in ("", "plain text", "Grüße 😀 日本語"):
            with self.subTest(text=text):
                self.assertEqual(text, shown(text))

    def test_what_cannot_becomes_an_escape(self) -> None:
        for text, wanted in (
            ("\x1b[31m", "\\x1b[31m"),
            ("one\r\ntwo", "one\\r\\ntwo"),
            ("\x9b", "\\x9b"),
            ("\u202eabc", "\\u202eabc"),
            ("\ud800", "\\ud800"),
            ("\x7f", "\\x7f"),
            ("\U000e0001", "\\U000e0001"),
        ):
            with self.subTest(text=text):
                self.assertEqual(wanted, shown(text))
                self.assertTrue(shown(text).isprintable())

    def test_it_is_cut(self) -> None:
        self.assertEqual("x" * 199 + "…", shown("x" * 201))
        self.assertEqual("x" * 200, shown("x" * 200))
        self.assertEqual("\\x00" * 9 + "…", shown("\0" * 1000, 10))


if __name__ == "__main__":
    unittest.main()
