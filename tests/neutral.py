"""Values described in plain JSON, as in ``interop/neutral.mjs``, so that no serializer vouches for itself."""

from typing import Any

from ezez_ws.messages.codec import UNDEFINED, BigInt


def build(description: list[Any]) -> Any:
    """Return the Python value that the codec should give for a JavaScript value."""
    value: Any
    kind, value = description[0], description[-1]  # a kind without a value is its own
    if kind == "num":
        number = float(value)
        whole = value.lstrip("-").isdigit() and abs(int(value)) <= 2**53 - 1
        return int(value) if whole else number
    if kind == "big":
        return BigInt(value)
    if kind == "bytes":
        return bytes.fromhex(value)
    if kind == "list":
        return [build(item) for item in value]
    if kind == "dict":
        return {key: build(item) for key, item in value}
    if kind == "null":
        return None
    return UNDEFINED if kind == "undef" else value


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal, of equal types, down to the last; NaN is equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right or (left != left and right != right))
