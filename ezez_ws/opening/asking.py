"""What an attempt to connect asks for: the URL, the key and the headers, which a client may have as callables."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..logs import shown
from ..options import check_auth
from ..threads.interrupted import calls_user_code
from .url import URL, parse_url, validate_client_headers

__all__ = ["Asked", "Asking", "CannotAsk"]

_UNKNOWN = "a URL that is still to be asked for"


class CannotAsk(Exception):
    """A callable has raised, or has returned what the option cannot be; that error is the ``__cause__``."""


class Asked(NamedTuple):
    """What one attempt asks for."""

    url: str
    """Without its query, which may hold a secret: for texts."""
    target: URL
    auth: str | None
    headers: Sequence[tuple[str, str]]


class Asking:
    """The three options as a client was given them; a URL or headers that are no callables are checked at once.

    ``tls``: only ``wss://`` will do. ``auth`` has been checked, if it is no callable.
    """

    def __init__(self, url: Any, auth: Any, headers: Any, tls: bool) -> None:
        self._tls = tls
        self._url, self._auth, self._headers = url, auth, headers
        self._target = None if callable(url) else self._parse_url(url)
        self._checked_headers = None if callable(headers) else validate_client_headers(headers)

    @property
    def url(self) -> str:
        """The URL for texts, before it has been asked for."""
        return _UNKNOWN if self._target is None else _without_query(self._url)

    @property
    def has_fresh_keys(self) -> bool:
        """Whether the next key may be another one."""
        return callable(self._auth)

    def ask(self) -> Asked:
        """Call the callables, on the calling thread; ``CannotAsk``: see there."""
        url = self._url if self._target is not None else _call("url", self._url, str)
        auth = _call("auth", self._auth, str) if callable(self._auth) else self._auth
        headers = self._checked_headers
        try:
            target = self._target or self._parse_url(url)
            if callable(self._auth):
                check_auth("auth", auth)
            if headers is None:
                headers = validate_client_headers(_call("headers", self._headers))
        except (TypeError, ValueError) as error:
            raise CannotAsk(str(error)) from error
        return Asked(_without_query(url), target, auth, headers)

    def _parse_url(self, url: Any) -> URL:
        target = parse_url(url)
        if self._tls and not target.secure:
            raise ValueError("ssl is for wss:// URLs only")
        return target


@calls_user_code
def _call(name: str, ask: Callable[[], Any], kind: type | None = None) -> Any:
    try:
        answer = ask()
    except BaseException as error:  # SystemExit too: it would end the thread without a word
        raise CannotAsk(f"{name}() raised {type(error).__name__}: {shown(str(error))}") from error
    if kind is not None and not isinstance(answer, kind):
        wrong = TypeError(f"{name} must return a {kind.__name__}, not {type(answer).__name__}")
        raise CannotAsk(str(wrong)) from wrong
    return answer


def _without_query(url: str) -> str:
    return url.partition("?")[0]
