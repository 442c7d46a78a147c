"""Values to message bytes and back: pure, without I/O and without threads.

A message is a row of fields, ``<length><mark>\\0<payload>\\0``. A text travels as it is (mark ``f``), bytes do
(mark ``t``), and every other value is JSON (mark ``j``) whose scalars are strings with a tag: ``"n:1"``, ``"l:"``.

Where the C extension is there, it does the usual cases (``messages/c``). It refuses nothing: what is not usual to it is
done by ``encoding.py`` and ``decoding.py``, from the start.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from ..options import check_callback
from .decoding import Decoder, Deserializer, peek_reply_to
from .encoding import Default, Encoder, Serializer, encode_event
from .json_text import UNMETERED, has_surrogate
from .protocol import Event, Ids
from .refusals import type_name
from .scalars import MAX_BIGINT_DIGITS, UNDEFINED, BigInt, UndefinedType, format_number
from .speedups import compiled

__all__ = ["UNDEFINED", "BigInt", "Codec", "UndefinedType", "format_number", "peek_reply_to"]

_LARGEST_MAX_DEPTH = 200  # what the recursion of the encoder and of the C scanner can always take
_LARGEST_BIGINT = 1_000_000  # digits; to read or write one takes time that grows with their square
_RESERVED_TAGS = frozenset("snulbi")


class Codec:
    """Turns the values of one message into bytes and back.

    Immutable, so one codec serves all threads; the functions it is given must be safe to call from any of them. A copy
    is the codec itself; where its functions pickle, it does.

    Args:
        serializers: Tag to function. Each is asked, in order, for a value that the codec does not know; it returns
            the value's text, or None for "not mine".
        deserializers: Tag to function that turns such a text back into a value, which may be None.
        sort_props: Whether the top-level keys of a ``dict`` argument are sorted, as JavaScript sorts.
        max_depth: How many containers may be nested in one argument, 1 to 200, in either direction.
        max_bigint_digits: How many digits a bigint may have, 1 to 1,000,000, in either direction.
        default: Called for a value that neither the codec nor its serializers know; it returns one that they do, which
            is encoded instead, as ``json.dumps`` does it. What is nested in that may be unknown again.

    Raises:
        TypeError, ValueError: An option is wrong. A tag must not be empty, ``s n u l b i``, or have a ``:``.
    """

    __slots__ = (
        *("_decode_at_once", "_decoder", "_default", "_encode_at_once", "_encoder", "_max_bigint_digits", "_max_depth"),
        *("_serializers", "_sort_props"),
    )

    _encoder: Encoder
    _decoder: Decoder
    _default: Default | None
    _serializers: dict[str, Serializer]
    _sort_props: bool
    _max_depth: int
    _max_bigint_digits: int
    _encode_at_once: Callable[..., Any] | None
    _decode_at_once: Callable[..., Any] | None

    def __init__(
        self,
        serializers: Mapping[str, Serializer] | None = None,
        deserializers: Mapping[str, Deserializer] | None = None,
        sort_props: bool = True,
        max_depth: int = 64,
        max_bigint_digits: int = MAX_BIGINT_DIGITS,
        default: Default | None = None,
    ) -> None:
        if not isinstance(sort_props, bool):
            raise TypeError(f"sort_props must be a bool, not {type_name(sort_props)}")
        _check_limit("max_depth", max_depth, _LARGEST_MAX_DEPTH)
        _check_limit("max_bigint_digits", max_bigint_digits, _LARGEST_BIGINT)
        check_callback("default", default, "value")
        put = super().__setattr__
        put("_serializers", _checked_tags("serializers", serializers))
        put("_encoder", Encoder(self._serializers, sort_props, max_depth, max_bigint_digits, default))
        put("_decoder", Decoder(_checked_tags("deserializers", deserializers), max_depth, max_bigint_digits))
        put("_default", default)
        put("_sort_props", sort_props)
        put("_max_depth", max_depth)
        put("_max_bigint_digits", max_bigint_digits)
        encode = decode = None
        if compiled is not None:
            encode = partial(compiled.encode_at_once, sort_props, max_depth)
            decode = partial(compiled.decode_event, max_depth, max_bigint_digits, UNMETERED, Event, Ids)
        put("_encode_at_once", encode)
        put("_decode_at_once", decode)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a Codec is immutable, {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Codec is immutable, {name} cannot be deleted")

    def __copy__(self) -> "Codec":
        return self

    def __deepcopy__(self, _: Any) -> "Codec":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        others = self._sort_props, self._max_depth, self._max_bigint_digits, self._default
        return type(self), (self._serializers, self._decoder.deserializers, *others)

    def encode(self, values: Sequence[Any]) -> bytes:
        """Return the bytes of one message with these values; none at all give ``b""``.

        Raises:
            SerializationError: A value cannot travel; the text names its place, as in ``args[1]["when"][0]``.
            TypeError: The values are a bare ``str`` or ``bytes``, which would be taken apart.
        """
        if compiled is not None:
            message: bytes = compiled.encode(values, self._sort_props, self._max_depth)
            if message is not NotImplemented:
                return message
        return self._encoder.encode(values)

    def _encode_event(self, event: str, event_id: int, reply_to: int | None, args_bytes: bytes) -> bytes:
        """Return an event message: its head before arguments that ``encode`` has encoded already."""
        if compiled is not None:
            message: bytes = compiled.encode_event(event, event_id, reply_to, args_bytes)
            if message is not NotImplemented:
                return message
        return encode_event(event, event_id, reply_to, args_bytes)

    def _encoder_at_once(self) -> Callable[..., Any] | None:
        """Return a function that makes an event message in one go, if there is one.

        It takes an event's name, its id, the reply-to and the arguments, checks all of them, and calls nobody's code.
        ``NotImplemented``: that is for ``check_event_name``, ``encode`` and ``encode_event`` to do, or to refuse.
        """
        return self._encode_at_once if type(self) is Codec else None

    @property
    def _is_plain(self) -> bool:
        """Whether decoding runs no code of the user's."""
        return type(self) is Codec and not self._decoder.deserializers

    def _decoder_at_once(self) -> Callable[..., Any] | None:
        """Return a function that takes a message and returns the ``Event`` that it plainly is, if there is one.

        Anything else that it returns: that is for ``decode_event`` and ``parse_event`` to tell, or to refuse.
        """
        return self._decode_at_once if type(self) is Codec else None

    def decode(self, data: bytes) -> list[Any]:
        """Return the values of one message.

        Raises:
            MalformedMessage: They are none; the text says where and why. An error of a deserializer is chained.
        """
        if compiled is not None:
            values: list[Any] = compiled.decode(data, self._max_depth, self._max_bigint_digits, UNMETERED)
            if values is not NotImplemented:
                return values
        return self._decoder.decode(data)

    def _decode_event(self, data: bytes) -> Event | list[Any]:
        """Return the event that a message plainly is, or the values, as ``decode``, for ``parse_event`` to judge."""
        if self._decode_at_once is None or type(self) is not Codec:
            return self.decode(data)
        event: Event | list[Any] = self._decode_at_once(data)
        return self._decoder.decode(data) if event is NotImplemented else event


def _check_limit(option: str, value: Any, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{option} must be an int, not {type_name(value)}")
    if not 1 <= value <= most:
        raise ValueError(f"{option} must be 1 to {most}, not {value}")


def _checked_tags(option: str, functions: Mapping[str, Any] | None) -> dict[str, Any]:
    if functions is None:
        return {}
    if not isinstance(functions, Mapping):
        raise TypeError(f"{option} must map tags to functions, not be {type_name(functions)}")
    for tag, function in functions.items():
        if not isinstance(tag, str):
            raise TypeError(f"{option}: a tag must be a str, not {type_name(tag)}")
        if not tag or ":" in tag or tag in _RESERVED_TAGS or has_surrogate(tag):
            raise ValueError(f"{option}: {tag!r} cannot be a tag; take a text without ':' that is none of s n u l b i")
        if not callable(function):
            raise TypeError(f"{option}[{tag!r}] must be callable, not {type_name(function)}")
    return dict(functions)
