"""One deadline that is carried through all steps of an operation."""

from . import clock

__all__ = ["NEVER", "Deadline"]


class Deadline:
    """A point in monotonic time, or never (``Deadline(None)``)."""

    __slots__ = ("at",)

    def __init__(self, timeout: float | None) -> None:
        self.at = None if timeout is None else clock.monotonic() + timeout

    @classmethod
    def of(cls, at: float | None) -> "Deadline":
        """Return the deadline at a point in time."""
        deadline = cls(None)
        deadline.at = at
        return deadline

    def remaining(self) -> float | None:
        """Return the seconds that are left, at least 0.0; ``None`` where there is no end."""
        return None if self.at is None else max(0.0, self.at - clock.monotonic())

    def remaining_of(self, most: float) -> float:
        """Return the seconds that are left, at most ``most``."""
        return most if self.at is None else min(most, max(0.0, self.at - clock.monotonic()))

    def passed(self) -> bool:
        """Tell whether the time is over."""
        return self.at is not None and clock.monotonic() >= self.at

    def sooner(self, other: "Deadline") -> "Deadline":
        """Return the one of the two that comes first."""
        if other.at is None or (self.at is not None and self.at <= other.at):
            return self
        return other


NEVER = Deadline(None)
