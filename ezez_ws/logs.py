"""Text of others in logs and on terminals: escaped and cut, so that nothing of a peer's is printed as it came."""

__all__ = ["shown"]

_LONGEST = 200


def shown(text: str, limit: int = _LONGEST) -> str:
    """Return ``text`` with escapes for what is not printable, cut to ``limit`` characters.

    Control characters, line ends, those that change the direction of writing, and lone surrogates become escapes as in
    Python's string literals; other letters, of whatever script, stay.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in cut)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii")
