"""Checks of options and arguments: each error names the option and says what would be right."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

__all__ = [
    "check_args",
    "check_callback",
    "check_choice",
    "check_compression",
    "check_count",
    "check_flag",
    "check_instance",
    "check_seconds",
    "check_ssl",
]


def check_seconds(name: str, value: Any, optional: bool = False, zero: bool = False) -> None:
    """Check a duration: a finite number above 0 (or 0, with ``zero``), or ``None`` with ``optional``."""
    if value is None and optional:
        return
    wanted = f"a number of seconds {'>=' if zero else '>'} 0{' or None' if optional else ''}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
    if not -math.inf < value <= 1e300 or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {wanted}, not {value!r}")


def check_count(name: str, value: Any, optional: bool = False, least: int = 1) -> None:
    """Check a size or a count: an ``int`` of at least ``least``, or ``None`` with ``optional``."""
    if value is None and optional:
        return
    wanted = f"an int >= {least}{' or None' if optional else ''}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be {wanted}, not {value}")


def check_choice(name: str, value: Any, choices: Collection[str | None], or_callable: bool = False) -> None:
    """Check that an option is one of a few values, or a callable where that is allowed."""
    if or_callable and callable(value):
        return
    if not (value is None or isinstance(value, str)) or value not in choices:
        wanted = ", ".join(map(repr, choices)) + (" or a callable" if or_callable else "")
        raise ValueError(f"{name} must be one of {wanted}, not {value!r}")


def check_callback(name: str, value: Any, required: bool = False) -> Callable[..., Any] | None:
    """Check that an option is callable, or ``None`` where it is not required."""
    if not callable(value) and (required or value is not None):
        raise TypeError(f"{name} must be callable{'' if required else ' or None'}, not {type(value).__name__}")
    return value  # type: ignore[no-any-return]


def check_flag(name: str, value: Any) -> None:
    """Check that an option is a ``bool``."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")


def check_instance(name: str, value: Any, kind: type) -> None:
    """Check that an option is an instance of a class, or ``None``."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")


def check_ssl(value: Any, server_side: bool) -> None:
    """Check the option ``ssl``: a context for this end of a connection, or ``None``."""
    if value is None:
        return
    import ssl  # it costs more to import than the rest of the library

    if not isinstance(value, ssl.SSLContext):
        raise TypeError(f"ssl must be an ssl.SSLContext or None, not {type(value).__name__}")
    if value.protocol == (ssl.PROTOCOL_TLS_CLIENT if server_side else ssl.PROTOCOL_TLS_SERVER):
        side = "server" if server_side else "client"
        raise ValueError(f"ssl must be a context for a {side}: ssl.SSLContext(ssl.PROTOCOL_TLS_{side.upper()})")


def check_compression(value: Any) -> None:
    """Check the option ``compression``."""
    check_choice("compression", value, (None, "deflate"))


def check_args(args: Any) -> Sequence[Any]:
    """Check the arguments of an event: a list or a tuple."""
    if not isinstance(args, (list, tuple)):
        hint = f"; write [{args!r:.40}]" if isinstance(args, (str, bytes, int, float, dict)) else ""
        raise TypeError(f"args must be a list or a tuple, not {type(args).__name__}{hint}")
    return args
