"""Values to message bytes and back: pure, without I/O and without threads.

A message is a row of fields, ``<length><mark>\\0<payload>\\0``. A text travels as it is (mark ``f``), bytes do
(mark ``t``), and every other value is JSON (mark ``j``) whose scalars are strings with a tag: ``"n:1"``, ``"l:"``.

How it works:

1. Encoding builds each argument's JSON text in one recursive pass. No path is kept meanwhile: where a value is
   refused, ``Unsendable`` collects the steps on its way out. A cycle needs no book-keeping either: it is what
   is found when a refusal for depth passes the same container twice.
2. Decoding hands the JSON text to the C scanner of ``json`` and then replaces the tagged strings in place, with a
   list of containers still to do instead of recursion. Before the scanner sees a text it is weighed, in linear
   time and without recursion: it must nest no deeper than ``max_depth``, and its containers must not need more
   than 32 times the bytes of the message.
3. Where the C extension is there, it does the usual cases of both (``messages/c``). It refuses nothing: what is not
   usual to it is done here, from the start.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from json.encoder import encode_basestring as quote
from operator import itemgetter
from typing import Any, NoReturn

from ..errors import MalformedMessage, SerializationError
from .fields import HEADS, NO_HEAD, cut
from .json_text import UNMETERED, Meter, has_surrogate, parse_json, place_of_surrogate, weigh
from .protocol import Event, Ids
from .refusals import Bad, Unsendable, describe, shorten, type_name
from .scalars import MAX_SAFE, MIN_SAFE, UNDEFINED, BigInt, UndefinedType, bigint, digits_of, format_number, number
from .speedups import compiled

__all__ = ["UNDEFINED", "BigInt", "Codec", "UndefinedType", "format_number", "peek_reply_to"]

Serializer = Callable[[Any], str | None]
Deserializer = Callable[[str], Any]

_LARGEST_MAX_DEPTH = 200  # what the recursion of the encoder and of the C scanner can always take
_RESERVED_TAGS = frozenset("snulbi")


class Codec:
    """Turns the values of one message into bytes and back.

    Immutable, so one codec serves all threads; the functions it is given must be safe to call from any of them.

    Args:
        serializers: Tag to function. Each is asked, in order, for a value that the codec does not know; it returns
            the value's text, or None for "not mine".
        deserializers: Tag to function that turns such a text back into a value, which may be None.
        sort_props: Whether the top-level keys of a ``dict`` argument are sorted, as JavaScript sorts.
        max_depth: How many containers may be nested in one argument, 1 to 200, in either direction.

    Raises:
        TypeError: An option is of a wrong type.
        ValueError: A tag is reserved (``s n u l b i``), empty or has a ``:``, or ``max_depth`` is out of range.
    """

    __slots__ = ("_decode_at_once", "_deserializers", "_encode_at_once", "_max_depth", "_serializers", "_sort_props")

    _serializers: tuple[tuple[str, Serializer], ...]
    _deserializers: dict[str, Deserializer]
    _sort_props: bool
    _max_depth: int
    _encode_at_once: Callable[..., Any] | None
    _decode_at_once: Callable[..., Any] | None

    def __init__(
        self,
        serializers: Mapping[str, Serializer] | None = None,
        deserializers: Mapping[str, Deserializer] | None = None,
        sort_props: bool = True,
        max_depth: int = 64,
    ) -> None:
        if not isinstance(sort_props, bool):
            raise TypeError(f"sort_props must be a bool, not {type_name(sort_props)}")
        if not isinstance(max_depth, int) or isinstance(max_depth, bool):
            raise TypeError(f"max_depth must be an int, not {type_name(max_depth)}")
        if not 1 <= max_depth <= _LARGEST_MAX_DEPTH:
            raise ValueError(f"max_depth must be 1 to {_LARGEST_MAX_DEPTH}, not {max_depth}")
        put = super().__setattr__
        put("_serializers", tuple(_checked_tags("serializers", serializers).items()))
        put("_deserializers", _checked_tags("deserializers", deserializers))
        put("_sort_props", sort_props)
        put("_max_depth", max_depth)
        encode = decode = None
        if compiled is not None:
            encode = partial(compiled.encode_at_once, sort_props, max_depth)
            decode = partial(compiled.decode_event, max_depth, UNMETERED, Event, Ids)
        put("_encode_at_once", encode)
        put("_decode_at_once", decode)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a Codec is immutable, {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Codec is immutable, {name} cannot be deleted")

    # -- encoding ------------------------------------------------------------------------------------------------

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
        if isinstance(values, (str, bytes)):
            raise TypeError(f"values must be a sequence of values, not {type(values).__name__}")
        return self._encode(values)

    def _encode(self, values: Sequence[Any]) -> bytes:
        fields: list[bytes] = []
        append = fields.append
        try:
            for value in values:
                kind = type(value)
                if kind is str:
                    if value.isascii():
                        append(f"{len(value)}f\0{value}\0".encode())
                    else:
                        payload = value.encode()
                        append(b"%df\0%b\0" % (len(payload), payload))
                elif kind is bytes:
                    append(b"%dt\0%b\0" % (len(value), value))
                elif value is None:
                    append(b'4j\0"l:"\0')
                elif kind is int and MIN_SAFE <= value <= MAX_SAFE:
                    text = f'"n:{value}"'
                    append(f"{len(text)}j\0{text}\0".encode())
                else:
                    append(self._encode_field(value))
        except Unsendable as refusal:
            raise SerializationError(refusal.explain(len(fields))) from refusal.cause
        except RuntimeError as error:  # another thread has changed a dict while its keys were sorted
            raise SerializationError(f"args[{len(fields)}]: cannot be read: {describe(error)}") from error
        except UnicodeEncodeError:
            place = place_of_surrogate(value, self._max_depth)
            raise SerializationError(
                f"args[{len(fields)}]{place}: a str with a lone surrogate cannot be sent"
            ) from None
        return b"".join(fields)

    def encode_event(self, event: str, event_id: int, reply_to: int | None, args_bytes: bytes) -> bytes:
        """Return an event message: its head before arguments that ``encode`` has encoded already."""
        if compiled is not None:
            message: bytes = compiled.encode_event(event, event_id, reply_to, args_bytes)
            if message is not NotImplemented:
                return message
        return self._encode_event(event, event_id, reply_to, args_bytes)

    def encoder_at_once(self) -> Callable[..., Any] | None:
        """Return a function that makes an event message in one go, if there is one.

        It takes an event's name, its id, the reply-to and the arguments, checks all of them, and calls nobody's code.
        ``NotImplemented``: that is for ``check_event_name``, ``encode`` and ``encode_event`` to do, or to refuse.
        """
        return self._encode_at_once if type(self) is Codec else None

    @property
    def is_plain(self) -> bool:
        """Whether decoding runs no code of the user's."""
        return type(self) is Codec and not self._deserializers

    def decoder_at_once(self) -> Callable[..., Any] | None:
        """Return a function that takes a message and returns the ``Event`` that it plainly is, if there is one.

        Anything else that it returns: that is for ``decode_event`` and ``parse_event`` to tell, or to refuse.
        """
        return self._decode_at_once if type(self) is Codec else None

    def _encode_event(self, event: str, event_id: int, reply_to: int | None, args_bytes: bytes) -> bytes:
        try:
            size = len(event) if event.isascii() else len(event.encode())
            number = f'"n:{event_id}"'
            head = f"{size}f\0{event}\0{len(number)}j\0{number}\0"
            if reply_to is None:
                return (head + '4j\0"l:"\0').encode() + args_bytes
            number = f'"n:{reply_to}"'
            return f"{head}{len(number)}j\0{number}\0".encode() + args_bytes
        except UnicodeEncodeError:
            raise SerializationError("event: a str with a lone surrogate cannot be sent") from None

    def _encode_field(self, value: Any) -> bytes:
        if isinstance(value, str):
            payload = str.__str__(value).encode()
            return b"%df\0%b\0" % (len(payload), payload)
        if isinstance(value, (bytes, bytearray, memoryview)):
            payload = _raw_bytes(value)
            return b"%dt\0%b\0" % (len(payload), payload)
        if isinstance(value, dict) and self._sort_props:
            text = self._object(value, _sorted_items(value), self._max_depth)
        else:
            text = self._json(value, self._max_depth)
        payload = text.encode()
        return b"%dj\0%b\0" % (len(payload), payload)

    def _json(self, value: Any, room: int) -> str:
        """Return the JSON text of a value.

        Args:
            value: Any value.
            room: How many containers may still be nested here.
        """
        kind = type(value)
        if kind is dict:
            return self._object(value, value.items(), room)
        if kind is list or kind is tuple:
            return self._array(value, room)
        if value is None:
            return '"l:"'
        if value is True:
            return '"b:1"'
        if value is False:
            return '"b:"'
        if value is UNDEFINED:
            return '"u:"'
        if isinstance(value, str):
            return quote("s:" + str.__str__(value))
        if isinstance(value, int):
            if MIN_SAFE <= value <= MAX_SAFE and not isinstance(value, BigInt):
                return f'"n:{int.__repr__(value)}"'
            return f'"i:{digits_of(value)}"'
        if isinstance(value, float):
            return f'"n:{format_number(value)}"'
        if isinstance(value, dict):
            return self._object(value, value.items(), room)
        if isinstance(value, (list, tuple)):
            return self._array(value, room)
        if isinstance(value, (bytes, bytearray, memoryview)):
            raise Unsendable(f"{type_name(value)} cannot be nested; bytes travel only as whole arguments")
        return self._json_custom(value)

    def _json_custom(self, value: Any) -> str:
        for tag, serializer in self._serializers:
            try:
                text = serializer(value)
            except Exception as error:
                reason = f"the serializer {tag!r} failed on {type_name(value)}: {describe(error)}"
                raise Unsendable(reason, error) from error
            if text is None:
                continue
            if not isinstance(text, str):
                returned = type_name(text)
                raise Unsendable(f"the serializer {tag!r} returned {returned} for {type_name(value)}, not str or None")
            text = f"{tag}:{str.__str__(text)}"
            if has_surrogate(text):
                raise Unsendable(f"the serializer {tag!r} returned a str with a lone surrogate")
            return quote(text)
        raise Unsendable(f"{type_name(value)} cannot be sent; give the codec a serializer for it")

    def _array(self, value: Sequence[Any], room: int) -> str:
        if not room:
            raise Unsendable(f"nested deeper than max_depth={self._max_depth}")
        pieces: list[str] = []
        append = pieces.append
        try:
            for item in value:
                kind = type(item)
                if kind is str:
                    append(quote("s:" + item))
                elif kind is int and MIN_SAFE <= item <= MAX_SAFE:
                    append(f'"n:{item}"')
                elif kind is dict:
                    append(self._object(item, item.items(), room - 1))
                else:
                    append(self._json(item, room - 1))
        except Unsendable as refusal:
            refusal.add_step(f"[{len(pieces)}]", value)
            raise
        except RuntimeError as error:  # the stack is nearly full, or iterating over a subclass fails
            raise Unsendable(f"{type_name(value)} cannot be read: {describe(error)}", error) from error
        return f"[{','.join(pieces)}]"

    def _object(self, value: dict[Any, Any], pairs: Iterable[tuple[Any, Any]], room: int) -> str:
        if not room:
            raise Unsendable(f"nested deeper than max_depth={self._max_depth}")
        pieces: list[str] = []
        append = pieces.append
        name = ""
        try:
            for key, item in pairs:
                if type(key) is not str:
                    name = ""  # a refused key is the dict's own fault, not that of the value before it
                    key = _base_key(key)
                name = _NAMES.get(key) or _name(key)
                kind = type(item)
                if kind is str:
                    append(name + quote("s:" + item))
                elif kind is int and MIN_SAFE <= item <= MAX_SAFE:
                    append(f'{name}"n:{item}"')
                elif item is True:
                    append(name + '"b:1"')
                elif item is False:
                    append(name + '"b:"')
                elif kind is float:
                    append(f'{name}"n:{format_number(item)}"')
                else:
                    append(name + self._json(item, room - 1))
        except Unsendable as refusal:
            refusal.add_step(f"[{name[:-1]}]" if name else "", value)
            raise
        except RuntimeError as error:  # another thread has changed the dict meanwhile
            raise Unsendable(f"{type_name(value)} cannot be read: {describe(error)}", error) from error
        return f"{{{','.join(pieces)}}}"

    # -- decoding ------------------------------------------------------------------------------------------------

    def decode(self, data: bytes) -> list[Any]:
        """Return the values of one message.

        Raises:
            MalformedMessage: The bytes are no message (protocol.md, section 2); the text says where and why. An
                error of a deserializer is chained.
        """
        if compiled is not None:
            values: list[Any] = compiled.decode(data, self._max_depth, UNMETERED)
            if values is not NotImplemented:
                return values
        return self._decode(data)

    def decode_event(self, data: bytes) -> Event | list[Any]:
        """Return the event that a message plainly is, or the values, as ``decode``, for ``parse_event`` to judge."""
        if self._decode_at_once is None or type(self) is not Codec:
            return self.decode(data)
        event: Event | list[Any] = self._decode_at_once(data)
        return self._decode(data) if event is NotImplemented else event

    def _decode(self, data: bytes) -> list[Any]:
        if type(data) is not bytes:
            data = bytes(data)
        size = len(data)
        if not size:
            raise MalformedMessage("an empty message")
        values: list[Any] = []
        append = values.append
        position = 0
        meter: Meter | None = None
        try:
            # The first fields in one go, as far as they are short and have no 0x00 in them.
            pieces = data[:_SHORT].split(b"\0", _SHORT_FIELDS * 2)
            if size > _SHORT:
                pieces.pop()  # which may be cut off
            halves = iter(pieces)
            for head, payload in zip(halves, halves, strict=False):
                mark, length = HEADS.get(head, NO_HEAD)
                if length != len(payload):
                    break
                if mark == "f":
                    append(payload.decode())
                elif mark == "t":
                    append(payload)
                elif payload in _CONSTANTS:
                    append(_CONSTANTS[payload])
                elif length < 20 and payload[:3] == b'"n:' and payload[-1:] == b'"' and payload[3:-1].isdigit():
                    append(int(payload[3:-1]))
                else:
                    append(self._decode_json(payload, None))
                position += len(head) + length + 2
            while position < size:
                mark, payload, end = cut(data, position)
                if mark == "f":
                    append(payload.decode())
                elif mark == "t":
                    append(payload)
                else:
                    if meter is None and size > UNMETERED:
                        meter = Meter(size)
                    append(self._decode_json(payload, meter))
                position = end
        except Bad as bad:
            raise MalformedMessage(f"field {len(values) + 1} at byte {position}: {bad}") from bad.cause
        except UnicodeDecodeError as error:
            raise MalformedMessage(
                f"field {len(values) + 1} at byte {position}: invalid UTF-8: {error.reason}"
            ) from None
        return values

    def _decode_json(self, payload: bytes, meter: Meter | None) -> Any:
        if payload in _CONSTANTS:
            return _CONSTANTS[payload]
        weigh(payload, self._max_depth, meter)
        value = NotImplemented
        if compiled is not None and meter is not None:  # else it has been tried
            value = compiled.scan_json(payload, self._max_depth)
        if value is not NotImplemented:
            return value
        value = parse_json(payload)
        if type(value) is str:
            return self._untag(value)
        if type(value) is dict or type(value) is list:
            self._untag_inside(value)
        return value

    def _untag_inside(self, root: Any) -> None:
        """Replace the tagged strings in a container, and in those in it, by their values."""
        todo = [root]
        while todo:
            box = todo.pop()
            for key, item in box.items() if type(box) is dict else enumerate(box):
                kind = type(item)
                if kind is str:
                    tag = item[:2]
                    if tag == "s:":
                        box[key] = item[2:]
                    elif item in _KNOWN:
                        box[key] = _KNOWN[item]
                    elif tag == "n:":
                        box[key] = number(item[2:])
                    else:
                        box[key] = self._untag(item)
                elif item and (kind is dict or kind is list):
                    todo.append(item)

    def _untag(self, text: str) -> Any:
        tag, colon, rest = text.partition(":")
        if not colon:
            raise Bad(f"a string without a tag: {shorten(text)}")
        if tag == "s":
            return rest
        if tag == "n":
            return number(rest)
        if tag == "b":
            return rest == "1"
        if tag == "i":
            return bigint(rest)
        if not rest and tag == "l":
            return None
        if not rest and tag == "u":
            return UNDEFINED
        deserializer = self._deserializers.get(tag)
        if deserializer is None:
            raise Bad(f"an unknown tag: {shorten(text)}")
        try:
            return deserializer(rest)
        except (Exception, SystemExit) as error:
            raise Bad(f"the deserializer {shorten(tag)} failed: {describe(error)}", error) from error


def peek_reply_to(data: bytes) -> int | None:
    """Return the reply-to (an int of at least 1) of an event message, or None where it has none.

    Reads the third field only and calls nobody's code. Never raises: bytes that are no message give None, and so
    does a third field of more than 64 bytes.
    """
    if compiled is not None:
        reply_to: int | None = compiled.peek_reply_to(data)
        if reply_to is not NotImplemented:
            return reply_to
    return _peek_reply_to(data)


def _peek_reply_to(data: bytes) -> int | None:
    end = 0
    try:
        for _ in range(3):
            mark, payload, end = cut(data, end)
        if mark != "j" or len(payload) > 64:
            return None
        value = _PLAIN._decode_json(payload, None)
    except (Bad, UnicodeDecodeError):
        return None
    return value if type(value) is int and value >= 1 else None


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


# -- encoding: the pieces ----------------------------------------------------------------------------------------

_NAMES: dict[str, str] = {}  # quoted keys with their colons; any thread may put one in, and none is ever taken out
_MOST_NAMES = 1000
_LONGEST_NAME = 32
_ONLY_STR = {str}


def _base_key(key: Any) -> str:
    if not isinstance(key, str):
        raise Unsendable(f"a dict key must be a str, not {type_name(key)}")
    return str.__str__(key)


def _name(key: str) -> str:
    """Return a key's JSON text and its colon, and remember those of the first short keys."""
    name = quote(key) + ":"
    if len(_NAMES) < _MOST_NAMES and len(key) <= _LONGEST_NAME:
        _NAMES[key] = name
    return name


def _sorted_items(value: dict[Any, Any]) -> list[tuple[str, Any]]:
    """Return the items in JavaScript's order: UTF-16 puts U+E000 to U+FFFF after the characters beyond them."""
    pairs = list(value.items())
    keys = [key for key, _ in pairs]
    if set(map(type, keys)) != _ONLY_STR:
        pairs = [(_base_key(key), item) for key, item in pairs]
        keys = [key for key, _ in pairs]
    if "".join(keys).isascii():
        pairs.sort(key=itemgetter(0))
    else:
        pairs.sort(key=lambda pair: pair[0].encode("utf-16-be", "surrogatepass"))
    return pairs


def _raw_bytes(value: bytes | bytearray | memoryview) -> bytes:
    try:
        return memoryview(value).tobytes()  # also where it is not contiguous or of larger items
    except (ValueError, NotImplementedError) as error:
        raise Unsendable(f"{type_name(value)} cannot be read: {describe(error)}", error) from error


# -- decoding: the pieces ----------------------------------------------------------------------------------------

_SHORT = 512  # bytes at a message's start, and so many fields, that are cut in one go
_SHORT_FIELDS = 8
_KNOWN: dict[str, Any] = {"l:": None, "u:": UNDEFINED, "b:1": True, "b:": False}
_CONSTANTS = {f'"{text}"'.encode(): value for text, value in _KNOWN.items()}
_KNOWN.update({f"n:{value}": value for value in range(1000)})


_PLAIN = Codec()
