"""Why the codec refuses a value or a field, on its way to where the place is known."""

from typing import Any

__all__ = ["Bad", "Unsendable", "describe", "shorten", "type_name"]


class Bad(Exception):
    """Why a field is malformed; ``Codec.decode`` adds where."""

    def __init__(self, reason: str, cause: BaseException | None = None) -> None:
        super().__init__(reason)
        self.cause = cause


class Unsendable(Exception):
    """Why a value cannot be sent; each container that it passes on its way out adds its step."""

    def __init__(self, reason: str, cause: BaseException | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
        self.steps: list[tuple[str, Any]] = []  # the innermost first

    def add_step(self, step: str, container: Any) -> None:
        self.steps.append((step, container))

    def explain(self, index: int) -> str:
        """Return the place in the arguments and the reason, which is a cycle where a container comes twice."""
        place = f"args[{index}]"
        seen: dict[int, str] = {}
        for step, container in reversed(self.steps):
            if id(container) in seen:
                return f"{place}: a cycle cannot be sent; it is {seen[id(container)]} again"
            seen[id(container)] = place
            place += step
        return f"{place}: {self.reason}"


def type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def shorten(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
