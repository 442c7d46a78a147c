"""The errors of calls: what they say, and that they can be copied and pickled."""

import copy
import pickle
import unittest
from typing import Any

from ezez_ws.errors import CallError, EZEZError, InvalidArgs, RemoteError

MAY_RUN_BESIDE = True


class CallErrorsTest(unittest.TestCase):
    def test_they_have_a_code_a_message_and_data_and_say_the_first_two(self) -> None:
        for kind in (RemoteError, InvalidArgs, CallError):
            error = kind("sold-out", "No tea", {"left": 0})
            self.assertEqual(("sold-out", "No tea", {"left": 0}), (error.code, error.message, error.data))
            self.assertEqual("sold-out: No tea", str(error))
            self.assertIsNone(kind("sold-out", "No tea").data)

    def test_one_except_is_enough_for_wrong_arguments_wherever_they_are_found(self) -> None:
        self.assertTrue(issubclass(InvalidArgs, RemoteError))
        self.assertTrue(issubclass(RemoteError, EZEZError) and issubclass(CallError, EZEZError))
        self.assertFalse(issubclass(CallError, RemoteError))

    def test_text_of_the_peer_is_shown_escaped_and_cut(self) -> None:
        text = str(RemoteError("a\n", "\x1b[2J" + "b" * 10_000))
        self.assertTrue(text.isprintable())
        self.assertLess(len(text), 1300)

    def test_a_code_or_message_that_is_no_text_is_a_mistake_of_who_raises(self) -> None:
        wrong: Any = 404
        with self.assertRaisesRegex(TypeError, "^the code of a CallError must be a str, not int$"):
            CallError(wrong, "not found")
        with self.assertRaisesRegex(TypeError, "^the message of a CallError must be a str, not int$"):
            CallError("not-found", wrong)

    def test_they_can_be_copied_and_pickled(self) -> None:
        for kind in (RemoteError, InvalidArgs, CallError):
            error = kind("sold-out", "No tea", [1])
            for other in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
                self.assertIs(kind, type(other))
                self.assertEqual((error.args, vars(error)), (other.args, vars(other)))


if __name__ == "__main__":
    unittest.main()
