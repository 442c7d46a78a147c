"""Attempts in a row: when to give up, how long to pause, and which failures are worth a warning."""

import unittest

from ezez_ws.opening.attempts import Attempts


class AttemptsTest(unittest.TestCase):
    def test_pauses_grow_to_their_maximum_and_begin_anew_after_a_success(self) -> None:
        attempts = Attempts(1.0, 5.0, None)
        for _ in range(2):
            for wanted in (1.0, 2.0, 4.0, 5.0, 5.0):
                self.assertTrue(wanted / 2 <= attempts.pause() <= wanted)
            attempts.succeeded()

    def test_the_last_is_the_one_that_reaches_the_limit_counted_anew_after_a_success(self) -> None:
        attempts = Attempts(1.0, 1.0, 3)
        self.assertEqual([attempts.note_failure() for _ in range(2)], [False, False])
        attempts.succeeded()
        self.assertEqual([attempts.note_failure() for _ in range(3)], [False, False, True])
        self.assertFalse(any(Attempts(1.0, 1.0, None).note_failure() for _ in range(10)))

    def warned(self, attempts: Attempts, *muted: int) -> list[int]:
        warned = []
        for number in range(1, 1201):
            attempts.note_failure()
            if attempts.wants_warning(number in muted):
                warned.append(number)
        return warned

    def test_the_first_the_tenth_and_so_on_are_worth_a_warning(self) -> None:
        attempts = Attempts(1.0, 1.0, None)
        for _ in range(2):
            self.assertEqual(self.warned(attempts), [1, 10, 100, 1000])
            attempts.succeeded()

    def test_one_that_is_muted_leaves_its_warning_to_the_next(self) -> None:
        self.assertEqual(self.warned(Attempts(1.0, 1.0, None), 1, 2, 10), [3, 11, 100, 1000])


if __name__ == "__main__":
    unittest.main()
