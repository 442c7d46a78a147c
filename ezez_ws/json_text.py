"""The JSON text of a ``j`` payload to containers and strings, by the standard library's scanner."""

import json
from typing import Any, NoReturn

from .refusals import Bad
from .scalars import number
from .surrogates import replace_escapes

__all__ = ["parse_json"]


def _refuse_constant(text: str) -> NoReturn:
    raise Bad(f"invalid JSON: a bare {text}")


_JSON = json.JSONDecoder(parse_int=number, parse_constant=_refuse_constant)
_BLANKS = " \t\n\r"


def parse_json(payload: bytes) -> Any:
    """Return what the C scanner of ``json`` makes of a text; its strings are not looked at."""
    text = payload.decode()
    if b"\\ud" in payload or b"\\uD" in payload:
        text = replace_escapes(text)
    text = text.strip(_BLANKS)
    try:
        value, end = _JSON.raw_decode(text)
    except json.JSONDecodeError as error:
        raise Bad(f"invalid JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:  # the caller's own stack is nearly full
        raise Bad("nested too deep for the rest of the stack") from None
    if end != len(text):
        raise Bad(f"invalid JSON: more after its end at character {end}")
    return value
