"""docs/security.md: what it recommends against guessing is measured, and its listener is told nonsense."""

import threading
import time
from typing import Any

from ezez_ws import AuthRejected, EZEZError, EZEZWebSocketClient, EZEZWebsocketServer
from tests.serving import ServingTestCase
from tests.test_docs import blocks

SAME_ON_EVERY_PYTHON = True

DOCUMENT = "docs/security.md"
SECONDS = 2.0  # of guessing


class SecurityTest(ServingTestCase):
    def run_until(self, text: str) -> dict[str, Any]:
        """Run the blocks of the document up to the one with that text, and return what they have made."""
        namespace: dict[str, Any] = {}
        for block in blocks(DOCUMENT):
            exec(compile(block.code, DOCUMENT, "exec"), namespace)
            if text in block.code:
                return namespace
        raise AssertionError(f"no {text!r}")

    def guesses(self, server: EZEZWebsocketServer) -> int:
        """Guess from one address by eight hands for a while, and return how many guesses were looked at."""
        assert server.url is not None
        url = server.url
        looked_at = [0] * 8
        end = time.monotonic() + SECONDS

        def guess(hand: int) -> None:
            while time.monotonic() < end:
                stranger = EZEZWebSocketClient(url, auth=f"guess {hand}", auto_reconnect=False)
                try:
                    stranger.connect(timeout=5)
                except AuthRejected:
                    looked_at[hand] += 1
                except EZEZError:
                    pass
                finally:
                    stranger.close()

        hands = [threading.Thread(target=guess, args=[hand]) for hand in range(8)]
        for thread in hands:
            thread.start()
        for thread in hands:
            thread.join()
        return sum(looked_at)

    def test_the_recipe_leaves_eight_guesses_a_second_to_an_address(self) -> None:
        made = self.run_until("check_slowly")
        most = 8 * (SECONDS + 1)  # four places, each for half a second; and those that are under way at the end
        with EZEZWebsocketServer(port=0, on_auth_request=made["check_key"]) as plain:
            without = self.guesses(plain)
        with made["server"]:
            within = self.guesses(made["server"])
        self.assertLessEqual(within, most)
        self.assertGreater(without, most)

    def test_a_key_with_accents_is_refused_and_the_right_one_taken(self) -> None:
        made = self.run_until("compare_digest")
        self.assertFalse(made["check_key"](None, "clé"))
        self.assertTrue(made["check_key"](None, made["SECRET"].decode()))
