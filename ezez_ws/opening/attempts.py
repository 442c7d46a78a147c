"""Attempts to connect, one after the other: how many have failed, how long to pause, and which are worth a warning."""

__all__ = ["Attempts"]


class Attempts:
    """The failed attempts in a row of one client. Not locked: whoever shares it guards it.

    Pauses grow exponentially, with jitter so that clients do not come all at once. Worth a warning are the first
    failure, the 10th, the 100th …, each with the next that comes where nobody is told of it (``muted``).
    """

    def __init__(self, delay: float, delay_max: float, limit: int | None) -> None:
        self._delay = self._next = delay
        self._delay_max = delay_max
        self._limit = limit
        self._warn_at = 1
        self.failed = 0

    def succeeded(self) -> None:
        """Begin anew."""
        self._next = self._delay
        self._warn_at = 1
        self.failed = 0

    def note_failure(self) -> bool:
        """Count a failure; return whether it was the last attempt."""
        self.failed += 1
        return self._limit is not None and self.failed >= self._limit

    def wants_warning(self, muted: bool) -> bool:
        """Tell whether the last failure is worth a warning."""
        if muted or self.failed < self._warn_at:
            return False
        self._warn_at = 10 ** len(str(self.failed))
        return True

    def pause(self) -> float:
        """Return the seconds to wait now."""
        delay = min(self._next, self._delay_max)
        self._next = min(delay * 2, self._delay_max)
        import random  # here, as it imports hashlib

        return delay * random.uniform(0.5, 1.0)
