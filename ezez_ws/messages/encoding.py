"""Values to message bytes.

Each argument's JSON text is built in one recursive pass. No path is kept meanwhile: where a value is refused,
``Unsendable`` collects the steps on its way out. A cycle needs no book-keeping either: it is what is found when a
refusal for depth passes the same container twice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from json.encoder import encode_basestring as quote
from operator import itemgetter
from types import NoneType
from typing import Any

from ..errors import SerializationError
from ..threads.interrupted import calls_user_code
from .json_text import has_surrogate, place_of_surrogate
from .refusals import Unsendable, describe, type_name
from .scalars import MAX_SAFE, MIN_SAFE, UNDEFINED, BigInt, UndefinedType, digits_of, format_number

__all__ = ["Default", "Encoder", "Serializer", "encode_event"]

Serializer = Callable[[Any], str | None]
Default = Callable[[Any], Any]

_KNOWN = (str, int, float, dict, list, tuple, bytes, bytearray, memoryview, NoneType, UndefinedType)

_NAMES: dict[str, str] = {}  # quoted keys with their colons; any thread may put one in, and none is ever taken out
_MOST_NAMES = 1000
_LONGEST_NAME = 32
_ONLY_STR = {str}


class Encoder:
    """Encodes what the C extension does not, and says what cannot be sent; the options are those of ``Codec``."""

    __slots__ = ("_default", "_max_bigint_digits", "_max_depth", "_serializers", "_sort_props")

    def __init__(
        self,
        serializers: Mapping[str, Serializer],
        sort_props: bool,
        max_depth: int,
        max_bigint_digits: int,
        default: Default | None = None,
    ) -> None:
        self._default = default
        self._serializers = tuple(serializers.items())
        self._sort_props = sort_props
        self._max_depth = max_depth
        self._max_bigint_digits = max_bigint_digits

    def encode(self, values: Sequence[Any]) -> bytes:
        """Return the bytes of one message; see ``Codec.encode``."""
        if isinstance(values, (str, bytes)):
            raise TypeError(f"values must be a sequence of values, not {type(values).__name__}")
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
            place = f"args[{len(fields)}]{place_of_surrogate(value, self._max_depth)}"
            raise SerializationError(f"{place}: a str with a lone surrogate cannot be sent") from None
        return b"".join(fields)

    def _encode_field(self, value: Any) -> bytes:
        if isinstance(value, str):
            payload = str.__str__(value).encode()
            return b"%df\0%b\0" % (len(payload), payload)
        if isinstance(value, (bytes, bytearray, memoryview)):
            try:
                payload = memoryview(value).tobytes()  # also where it is not contiguous or of larger items
            except (ValueError, NotImplementedError) as error:
                raise Unsendable(f"{type_name(value)} cannot be read: {describe(error)}", error) from error
            return b"%dt\0%b\0" % (len(payload), payload)
        if isinstance(value, dict) and self._sort_props:
            text = self._object(value, _sorted_items(value), self._max_depth)
        elif isinstance(value, _KNOWN):
            text = self._json(value, self._max_depth)
        else:
            text, made = self._json_custom(value)
            if not text:
                return self._encode_field(made)
        payload = text.encode()
        return b"%dj\0%b\0" % (len(payload), payload)

    def _json(self, value: Any, room: int) -> str:
        """Return the JSON text of a value; ``room``: how many containers may still be nested here."""
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
            return f'"i:{digits_of(value, self._max_bigint_digits)}"'
        if isinstance(value, float):
            return f'"n:{format_number(value)}"'
        if isinstance(value, dict):
            return self._object(value, value.items(), room)
        if isinstance(value, (list, tuple)):
            return self._array(value, room)
        if isinstance(value, (bytes, bytearray, memoryview)):
            raise Unsendable(f"{type_name(value)} cannot be nested; bytes travel only as whole arguments")
        text, made = self._json_custom(value)
        return text or self._json(made, room)

    def _json_custom(self, value: Any) -> tuple[str, Any]:
        """Return the text that a serializer makes of a value, or no text and the known value that ``default`` does."""
        text = self._serialize(value)
        if text:
            return text, None
        if self._default is None:
            raise Unsendable(f"{type_name(value)} cannot be sent; give the codec a serializer for it")
        made = self._replace(self._default, value)
        if isinstance(made, _KNOWN):
            return "", made
        text = "" if made is value else self._serialize(made)
        if text:
            return text, None
        returned = "itself" if made is value else type_name(made)
        raise Unsendable(f"{type_name(value)} cannot be sent; the codec's default returned {returned} for it")

    @calls_user_code
    def _replace(self, default: Default, value: Any) -> Any:
        try:
            return default(value)
        except Exception as error:
            reason = f"the codec's default failed on {type_name(value)}: {describe(error)}"
            raise Unsendable(reason, error) from error

    @calls_user_code
    def _serialize(self, value: Any) -> str:
        """Return the text that the first serializer makes of a value which knows it; none does: an empty one."""
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
        return ""

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


def encode_event(event: str, event_id: int, reply_to: int | None, args_bytes: bytes) -> bytes:
    """Return an event message: its head before arguments that are encoded."""
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
