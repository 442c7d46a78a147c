"""Lone surrogates: JavaScript's strings may have them, UTF-8 and so the wire may not."""

import re
from json.encoder import encode_basestring as quote
from typing import Any, Iterable, Tuple

__all__ = ["has_surrogate", "place_of_surrogate", "replace_escapes"]

# An escape of a lone surrogate is the group; what is no group (a backslash, a pair) is there to be passed over.
_SURROGATES = re.compile(r"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})")


def replace_escapes(text: str) -> str:
    """Return a JSON text with U+FFFD for each escape of a lone surrogate."""
    return _SURROGATES.sub(lambda found: "\\ufffd" if found[1] else found[0], text)


def has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def place_of_surrogate(value: Any, room: int) -> str:
    """Return the steps to the first text with a lone surrogate in a value that has passed all other checks."""
    if isinstance(value, (list, tuple)) and room:
        pairs: Iterable[Tuple[Any, Any]] = enumerate(value)
    elif isinstance(value, dict) and room:
        pairs = value.items()
    else:
        return ""
    for key, item in pairs:
        if isinstance(key, str) and has_surrogate(key):
            return f"[{key!r}] (the key)"
        step = f"[{key}]" if isinstance(key, int) else f"[{quote(key)}]"
        if isinstance(item, str):
            if has_surrogate(item):
                return step
        else:
            inner = place_of_surrogate(item, room - 1)
            if inner:
                return step + inner
    return ""
