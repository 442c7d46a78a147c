"""Events and frames of one connection in the log, at DEBUG: names, ids and sizes, never what they hold.

Whether they are told is decided when a connection is made, so that one whose are not costs nothing for it: the methods
that they pass are replaced on that one object. What leaves is told after it was handed over, with no lock held.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..logs import frames, logger, shown
from ..messages.protocol import Event
from ..websocket.frames import BINARY, CLOSE, PING, PONG, TEXT, Message, Violation, encode_close, parse_close
from .outgoing import Broadcast
from .replies import RoutedReply, SentMessage

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["trace", "watchers"]

_NAMES = {TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}


watchers: list[Callable[["Connection"], object]] = []
"""Called with each connection that is made: by those who record what goes through it, in tests."""


def trace(connection: "Connection") -> None:
    """Have what goes through a connection told, as far as the loggers want it."""
    for watch in tuple(watchers):
        watch(connection)
    if logger.isEnabledFor(logging.DEBUG):
        _Events(connection)
    if frames.isEnabledFor(logging.DEBUG):
        _Frames(connection)


class _Trace:
    """Stands in for methods of one connection; ``_wrap`` puts one of its own, which gets the method, in their place."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def _wrap(self, owner: Any, name: str, told: Callable[..., Any]) -> None:
        setattr(owner, name, partial(told, getattr(owner, name)))

    def put_event(self, put: Callable[..., Any], sent: Any, encode: Callable[..., Any], *what: Any) -> Any:
        """Send an event, and note how many bytes that were."""
        sizes = [0]

        def encoded(*values: Any) -> Any:
            message = encode(*values)
            sizes.append(0 if message is NotImplemented else len(message))
            return message

        outcome = put(sent, encoded, *what)
        if isinstance(outcome, SentMessage):
            self.event_sent(outcome, what[0], sizes[-1])
        return outcome

    def event_sent(self, sent: SentMessage, event: str, size: int) -> None:
        """Tell of an event that was sent."""
        raise NotImplementedError


class _Events(_Trace):
    def __init__(self, connection: "Connection") -> None:
        super().__init__(connection)
        self._wrap(connection, "deliver", self.deliver)
        self._wrap(connection, "_put_event", self.put_event)
        self._wrap(connection, "broadcast", self.broadcast)
        self._wrap(connection, "_handle_reply", self.handle_reply)

    def handle_reply(self, _: Callable[..., Any], routed: RoutedReply) -> None:
        self._connection.handle(routed.payload, routed)  # to be delivered, though nobody listens

    def deliver(self, deliver: Callable[..., Any], event: Event, payload: bytes, routed: RoutedReply | None) -> None:
        unknown = event.ids.reply_to is None and not self._connection.listens_to(event.name)
        self._tell("received", event.name, *event.ids, len(payload), ", which nobody listens to" if unknown else "")
        deliver(event, payload, routed)

    def event_sent(self, sent: SentMessage, event: str, size: int) -> None:
        self._tell("sent", event, sent.event_id, sent.reply_to, size)

    def broadcast(self, broadcast: Callable[..., bool], event: Broadcast, *more: Any) -> bool:
        done = broadcast(event, *more)
        if done:
            self._tell("broadcast", event.event, None, None, len(event.message(1).payload))
        return done

    def _tell(
        self, what: str, event: str, event_id: int | None, reply_to: int | None, size: int, more: str = ""
    ) -> None:
        ids = ("" if event_id is None else f"id {event_id}, ") + ("" if reply_to is None else f"reply to {reply_to}, ")
        one = self._connection
        text = f"%s: {what} '%s' ({ids}%d bytes){more}"
        logger.debug(text, one.name, shown(event), size, extra=one.extra(event))


class _Frames(_Trace):
    """What comes and what goes; but for the answer to an authentication, which is sent under a lock.

    ``_told``: the messages of this read have been told. It belongs to who reads.
    """

    def __init__(self, connection: "Connection") -> None:
        super().__init__(connection)
        self._told = False
        stream = connection.stream
        self._wrap(connection, "_put_event", self.put_event)
        self._wrap(connection, "broadcast", self.broadcast)
        self._wrap(stream, "receive", self.receive)
        self._wrap(stream, "_hear_control", self.hear_control)
        for opcode, name in (PING, "ping"), (PONG, "pong"), (CLOSE, "close"), (BINARY, "send"):
            self._wrap(stream._outbox, name, partial(self.send, opcode))

    def receive(self, receive: Callable[..., Any], *how: Any, **more: Any) -> list[Message] | None:
        self._told = False
        messages: list[Message] | None = receive(*how, **more)
        if not self._told:
            self._tell_received(messages or ())
        return messages

    def hear_control(self, hear: Callable[..., Any], messages: list[Message]) -> Any:
        self._tell_received(messages)
        return hear(messages)

    def _tell_received(self, messages: Sequence[Message]) -> None:
        self._told = True
        for opcode, payload in messages:
            self._tell("<", opcode, payload)

    def send(self, opcode: int, send: Callable[..., Any], *what: Any, **more: Any) -> Any:
        outcome = send(*what, **more)
        if opcode == CLOSE and outcome:
            self._tell(">", opcode, encode_close(*what))
        elif opcode != CLOSE:
            self._tell(">", opcode, what[0] if what else b"")
        return outcome

    def event_sent(self, sent: SentMessage, event: str, size: int) -> None:
        self._tell(">", BINARY, b"", size)

    def broadcast(self, broadcast: Callable[..., bool], event: Broadcast, *more: Any) -> bool:
        done = broadcast(event, *more)
        if done:
            self._tell(">", BINARY, event.message(1).payload)
        return done

    def _tell(self, way: str, opcode: int, payload: bytes | str, size: int | None = None) -> None:
        what = f"{len(payload) if size is None else size} bytes"
        if opcode == CLOSE and isinstance(payload, bytes):
            with contextlib.suppress(Violation):
                code, reason = parse_close(payload)
                what = f"{code} '{shown(reason)}'"
        one = self._connection
        frames.debug("%s: %s %s, %s", one.name, way, _NAMES.get(opcode, opcode), what, extra=one.extra())
