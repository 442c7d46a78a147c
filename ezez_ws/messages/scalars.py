"""The scalars of a ``j`` payload and their texts, by grammars of our own.

What a peer sends is judged by them before ``int()`` and ``float()`` see it, which take ``1_000``, ``+5``, blanks and
other scripts' digits. Neither direction depends on ``sys.set_int_max_str_digits``; both take linear time at most, but
for a bigint, whose digits have a limit for that reason.
"""

import re
from typing import Any, NoReturn, final

from .refusals import Bad, Unsendable, type_name

__all__ = [
    "MAX_BIGINT_DIGITS",
    "MAX_SAFE",
    "MIN_SAFE",
    "UNDEFINED",
    "BigInt",
    "UndefinedType",
    "bigint",
    "digits_of",
    "format_number",
    "number",
]

MAX_SAFE = 2**53 - 1  # JavaScript's Number.MAX_SAFE_INTEGER
MIN_SAFE = -MAX_SAFE
MAX_BIGINT_DIGITS = 10_000  # without the sign; what the npm package takes, too
_BITS_OF_DIGIT = 3.3219280948873627  # rounded up
_CHUNK = 600  # digits at a time where the process has set a limit, which cannot be below 640
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]+")
_JS_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@final
class UndefinedType:
    """The type of ``UNDEFINED``, which is its only instance."""

    __slots__ = ()
    _instance: "UndefinedType | None" = None

    def __new__(cls) -> "UndefinedType":
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("UndefinedType cannot be subclassed")

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNDEFINED"

    def __reduce__(self) -> str:
        return "UNDEFINED"  # copy and pickle take it as the module's global of this name


UNDEFINED = UndefinedType()
"""JavaScript's ``undefined``; falsy, compare with ``is``."""


class BigInt(int):
    """An ``int`` that is a JavaScript ``bigint`` at the other end, whatever its size."""

    __slots__ = ()

    def __repr__(self) -> str:
        try:
            return f"BigInt({int.__repr__(self)})"
        except ValueError:  # the process has set a limit, and a peer's bigint must not spoil what logs it
            return f"<BigInt of {self.bit_length()} bits>"

    def __str__(self) -> str:
        return int.__repr__(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Tell pydantic how to read one: from any integer, as JSON has no other."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.int_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return {**handler(schema), "format": "bigint"}


def format_number(value: float) -> str:
    """Return the text that JavaScript prints for a number."""
    text = float.__repr__(value)
    if text[-2:] == ".0":
        return text[:-2] if value else "0"
    if "e" not in text:
        return _JS_WORDS.get(text, text)
    # Python takes the exponent form from 1e16 and below 1e-4, JavaScript from 1e21 and below 1e-6.
    mantissa, _, exponent_text = text.partition("e")
    exponent = int(exponent_text)
    if not -7 < exponent < 21:
        return f"{mantissa}e{exponent:+d}"
    sign = "-" if value < 0 else ""
    digits = mantissa.lstrip("-").replace(".", "")
    if exponent > 0:
        return sign + digits.ljust(exponent + 1, "0")
    return f"{sign}0.{'0' * (-exponent - 1)}{digits}"


def digits_of(value: int, most: int = MAX_BIGINT_DIGITS) -> str:
    """Return the decimal digits of a bigint, up to ``most``, whatever limit the process has set for them."""
    if value.bit_length() <= most * _BITS_OF_DIGIT + 1:
        try:
            text = int.__repr__(value)
        except ValueError:
            rest, chunks = abs(int(value)), []
            while rest:
                rest, chunk = divmod(rest, 10**_CHUNK)
                chunks.append(f"{chunk:0{_CHUNK}d}")
            text = ("-" if value < 0 else "") + "".join(reversed(chunks)).lstrip("0")
        if len(text) - (value < 0) <= most:
            return text
    raise Unsendable(f"{type_name(value)} of more than {most} digits (max_bigint_digits) cannot be sent")


def number(text: str) -> int | float:
    """Return the number that a text denotes: an int where it is an integer within the safe range."""
    if len(text) < 16 and text.isascii():  # the usual ones, four times as fast as by the grammar
        if text.isdecimal():
            return int(text)
        whole, point, fraction = text.partition(".")
        if (whole[1:] if whole[:1] == "-" else whole).isdecimal():
            if fraction.isdecimal():
                return float(text)
            if not point:
                return int(text)
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("-").lstrip("0")
        if len(digits) < 17:
            size = int(digits or "0")
            if size <= MAX_SAFE:
                return -size if text[0] == "-" else size
        return float(text)  # in linear time, which int() is not
    if _NUMBER.fullmatch(text):
        return float(text)
    if text in _WORDS:
        return _WORDS[text]
    raise Bad(f"no number: a text, {len(text)} long")


def bigint(text: str, most: int = MAX_BIGINT_DIGITS) -> BigInt:
    """Return the bigint that a text of up to ``most`` digits denotes, whatever limit the process has set for them."""
    if len(text) > most + 1 or not _INTEGER.fullmatch(text) or len(text.lstrip("-")) > most:
        raise Bad(f"no bigint of at most {most} digits (max_bigint_digits): a text, {len(text)} long")
    try:
        return BigInt(text)
    except ValueError:  # the process has set a lower limit
        digits, size = text.lstrip("-"), 0
        for at in range(0, len(digits), _CHUNK):
            chunk = digits[at : at + _CHUNK]
            size = size * 10 ** len(chunk) + int(chunk)
        return BigInt(-size if text[0] == "-" else size)
