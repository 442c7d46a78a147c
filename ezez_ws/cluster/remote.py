"""One client of another node: a message to it, and its answer.

The message goes through the inbox of the client's node, not through the log, as nobody else has to read it. There it is
put into the client's outbox without waiting, and the reply goes back as it came:

    ``RemoteClient.send`` → ``Asks`` → the other node's ``Answering`` → the client
    the client's reply → ``Answering`` → ``Asks`` → the thread in ``wait_reply``

A client of this node takes the same way, but for the inboxes. A message is sent at most once.
"""

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..calls.calling import Calling, submit
from ..calls.futures import Answer, Submitted
from ..connection.replies import EXPIRED, EventArgs, OnReply, Outcome, Reply, SentMessage
from ..errors import EZEZError, MalformedMessage, SendTimeout
from ..logs import limited, shown
from ..messages.codec import Codec
from ..messages.protocol import CloseCode, Event, check_close, check_event_name, parse_event
from ..options import check_args
from ..threads import clock
from ..threads.deadline import Deadline
from ..threads.fork import Uncopied
from ..threads.interrupted import interrupts_library, make_lock, refuse_to_wait
from ..threads.timers import Timer, janitor
from ..threads.waiting import Condition
from ..websocket.outbox import REFUSED
from ..websocket.stream import Ending
from .entries import PLAIN

if TYPE_CHECKING:
    from .clients import Clients

__all__ = ["Answering", "Asks", "RemoteClient", "node_of"]

FORMAT = 1
ASK, ANSWER, CLOSE = "ask", "answer", "close"
REPLIED, ENDED, NO_ROOM = "reply", "closed", "no room"

NODE_GONE = Ending(CloseCode.ABNORMAL, "node gone")
_NO_SUCH = Ending(CloseCode.ABNORMAL, "no such connection")

_FEW = 64
_MOST_ASKED = 50_000  # messages of other nodes whose answers are waited for; the oldest are forgotten

Transport = Callable[[str, bytes], object]
"""Puts a message into the inbox of a node, sooner or later; ``QueueFull``."""


def node_of(address: Any) -> str:
    """Return the node in an address, which it checks."""
    if not isinstance(address, str):
        raise TypeError(f"an address must be a str, not {type(address).__name__}")
    node, colon, number = address.rpartition(":")
    if not (node and colon and number.isdecimal() and len(address) < 100):
        raise ValueError(f"{shown(address)!r} is no address of a client")
    return node


class RemoteClient(Calling, Uncopied):
    """A client by its address, wherever it is. Making one asks nobody. Any thread may call any method."""

    __slots__ = ("_address", "_asks")

    def __init__(self, asks: "Asks", address: str) -> None:
        node_of(address)
        self._asks = asks
        self._address = address

    @property
    def address(self) -> str:
        """What names the connection on all nodes."""
        return self._address

    @property
    def _ezez_cluster_id(self) -> str:
        return self._address

    def send(self, event: str, args: EventArgs = ()) -> SentMessage:
        """Send an event; returns when it is on its way, and is never sent a second time.

        Returns:
            A ``SentMessage``, true, whose ``event_id`` is ``None``. Its ``wait_reply`` ends with a ``Reply`` as that
            of a client of this process; ``ConnectionClosed`` where there is no such connection, where it ends first,
            or its node is gone (``1006``, "node gone"); ``SendTimeout``, at once, where the client's send buffer has
            no room, which does not cut it; ``ReplyTimeout`` by its timeout, or after ``clear_awaiting_replies_after``.

        Raises:
            TypeError, ValueError, SerializationError: a wrong event name or ``args``.
            QueueFull: more would wait for the broker than may.
        """
        return self._asks.ask(self._address, check_event_name(event), check_args(args), None)

    def _ezez_submit(self, event: str, args: Any, read: Callable[[Any], Any] | None) -> Answer:
        return self._asks.submit(self._address, event, args, read)

    def disconnect(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin to close the connection; see ``EZEZServerClient.disconnect``."""
        check_close(code, reason)
        self._asks.close_remote(self._address, code, reason)

    def __repr__(self) -> str:
        return f"<RemoteClient {self._address}>"


class Asks:
    """The messages of this node that went to one client, and are waited for.

    ``condition.lock``, a leaf, guards all. Who keeps no ``SentMessage`` waits for nothing: they are known weakly.
    """

    def __init__(self, codec: Codec, node: str, ttl: float, transport: Transport) -> None:
        self.answering: Answering | None = None  # takes what is for clients of this node
        self.is_known: Callable[[str], bool] = lambda node: True
        self._codec = codec
        self._node = node
        self._ttl = ttl
        self._transport = transport
        self._condition = Condition()
        self._next = 1
        self._sweep_at = _FEW
        self._awaited: OrderedDict[int, tuple[weakref.ref[SentMessage], str, float]] = OrderedDict()  # with the address
        self._kept: dict[SentMessage, tuple[int, Timer]] = {}  # those that have a future, and what ends it
        self.do: Callable[[Callable[[], object]], object] | None = None  # has a thread do it that runs user code
        self._closed: Ending | None = None

    def ask(self, address: str, event: str, args: Any, reply_to: int | None) -> SentMessage:
        """Send an event to a client; see ``RemoteClient.send``."""
        sent = SentMessage(self, None, reply_to, None, event)
        return self._send(sent, address, event, self._codec.encode(args), reply_to)

    def submit(self, address: str, event: str, args: Any, read: Callable[[Any], Any] | None) -> Answer:
        """Send an event to a client; see ``RemoteClient.submit``."""
        if self.do is None:
            raise TypeError("submit(): an emitter has no thread that reads answers; use call()")

        def hand_over(sent: Submitted, event: str, body: bytes) -> Ending | None:
            sent._went_out(self, None)
            self._send(sent, address, event, body, None)
            return self._closed if sent._outcome is self._closed else None

        return submit(None, self._codec, event, args, read, hand_over)

    def forget(self, sent: SentMessage) -> None:
        """Do not wait for the answer to a message with a future any more."""
        with self._condition.lock:
            number, timer = self._kept.pop(sent, (0, None))
            self._awaited.pop(number, None)
        if timer is not None:
            timer.cancel()

    def _tell_later(self, sent: SentMessage) -> None:
        """Have the outcome of a message told to its future, on the thread that runs user code."""
        self.forget(sent)
        if self.do is not None:
            self.do(partial(self._tell, sent))

    def _tell(self, sent: SentMessage) -> None:
        self.wait_reply(sent, Deadline(0))  # which decodes it
        sent._tell(True)

    def _send(self, sent: SentMessage, address: str, event: str, body: bytes, reply_to: int | None) -> SentMessage:
        node = node_of(address)
        with self._condition.lock:
            number, self._next = self._next, self._next + 1
            self._forget_old()
            if self._closed is not None:
                sent._outcome = self._closed
                return sent
            self._awaited[number] = weakref.ref(sent), address, clock.monotonic() + self._ttl
        if sent._is_kept:
            timer = janitor.call_later(self._ttl, partial(self._settle, number, EXPIRED))
            with self._condition.lock:
                self._kept[sent] = number, timer
        is_ours = self.answering is not None and node == self._node
        if not is_ours and not self.is_known(node):
            self._settle(number, NODE_GONE)
        else:
            try:
                self._hand_over(node, [ASK, self._node, number, address, event, body, reply_to])
            except BaseException:
                with self._condition.lock:
                    self._awaited.pop(number, None)
                self.forget(sent)
                raise
        return sent

    def close_remote(self, address: str, code: int, reason: str) -> None:
        """Have a connection closed."""
        self._hand_over(node_of(address), [CLOSE, address, code, reason])

    def _hand_over(self, node: str, message: list[Any]) -> None:
        if self.answering is None or node != self._node:
            self._transport(node, PLAIN.encode([FORMAT, *message]))
        elif interrupts_library():  # it may hold what the connection needs
            janitor.call_later(0.0, lambda: self._take_own(message))
        else:
            self._take_own(message)

    def _take_own(self, message: list[Any]) -> None:
        assert self.answering is not None
        self.answering.take(message, lambda _, answer: self.take(answer))

    def take_message(self, data: bytes) -> None:
        """Take what was in the inbox; what is no message of ours is left out, and told."""
        try:
            form, *message = PLAIN.decode(data)
            if form == FORMAT and message[0] == ANSWER:
                self.take(message)
            elif form == FORMAT and self.answering is not None:
                self.answering.take(message, self._answer)
        except Exception as error:  # whatever: nothing that comes may end the thread that reads
            limited.tell(logging.WARNING, "inbox", "a message of another node was left out: %s", shown(str(error)))

    def _answer(self, node: str, answer: list[Any]) -> None:
        try:
            self._transport(node, PLAIN.encode([FORMAT, *answer]))
        except EZEZError as error:
            limited.tell(logging.WARNING, "answer", "an answer to another node was lost: %s", shown(str(error)))

    def awaited_nodes(self) -> set[str]:
        """Return the nodes that have something to answer."""
        with self._condition.lock:
            return {node_of(address) for _, address, _ in self._awaited.values()}

    def take(self, message: list[Any]) -> None:
        """Take an answer."""
        _, number, what, *rest = message
        outcome: Any = None
        if what == REPLIED:
            outcome = _Raw(rest[0])
        elif what == ENDED:
            outcome = Ending(*rest)
        elif what == NO_ROOM:
            outcome = SendTimeout("the client's send buffer has no room; the message was not sent")
        self._settle(number, outcome)

    def take_undelivered(self, message: bytes) -> None:
        """Take back a message of ours for a node that has no inbox."""
        _, what, *rest = PLAIN.decode(message)
        if what == ASK:
            self._settle(rest[1], NODE_GONE)

    def forget_node(self, node: str) -> None:
        """Note that a node does not live any more: nothing that was sent there will be answered."""
        with self._condition.lock:
            gone = [number for number, (_, address, _) in self._awaited.items() if node_of(address) == node]
        for number in gone:
            self._settle(number, NODE_GONE)

    def close(self, ending: Ending) -> None:
        """End all waiting. Idempotent."""
        with self._condition.lock:
            self._closed = ending
            numbers = list(self._awaited)
        for number in numbers:
            self._settle(number, ending)

    def _settle(self, number: int, outcome: Any) -> None:
        with self._condition.lock:
            entry = self._awaited.pop(number, None)
            sent = None if entry is None else entry[0]()
            if entry is not None and sent is not None and sent._outcome is None:
                if isinstance(outcome, _Raw):
                    outcome.address = entry[1]
                sent._outcome = outcome
                self._condition.changed()
        if sent is not None and sent._is_kept:
            self._tell_later(sent)

    def _forget_old(self) -> None:
        """Requires holding the lock."""
        now = clock.monotonic()
        for number, (sent, _, deadline) in list(self._awaited.items())[:4]:  # the oldest; each call adds one
            there = sent()
            if there is not None and there._is_kept:
                continue  # a timer ends it
            if there is None or deadline <= now:
                del self._awaited[number]
                if there is not None:
                    there._outcome = there._outcome or EXPIRED
                    self._condition.changed()
        if len(self._awaited) >= self._sweep_at:  # behind one that is waited for there may be many that nobody knows
            for number in [number for number, (sent, _, _) in list(self._awaited.items()) if sent() is None]:
                del self._awaited[number]
            self._sweep_at = 2 * len(self._awaited) + _FEW

    # -- for ``SentMessage`` ------------------------------------------------------------------------------------------

    def wait_reply(self, sent: SentMessage, deadline: Deadline) -> Outcome:
        """Wait for the outcome of a message; ``None`` where the time passed."""
        if sent._outcome is None:
            refuse_to_wait("wait_reply()")
            with self._condition.lock:
                mine = [at for ref, _, at in self._awaited.values() if ref() is sent]
            until = Deadline.of(mine[0] if mine else None)
            self.wait_until(lambda: sent._outcome, deadline.sooner(until))
            if sent._outcome is None and until.passed() and mine:
                sent._outcome = EXPIRED
        outcome: Any = sent._outcome
        if isinstance(outcome, _Raw):
            outcome = sent._outcome = self._read(outcome, sent)
        if isinstance(outcome, Exception) and not sent._is_kept:  # else it is for the future
            raise type(outcome)(*outcome.args)
        return outcome  # type: ignore[no-any-return]

    def wait_until(self, check: Callable[[], Any], deadline: Deadline) -> None:
        """Wait for an outcome. An emitter reads its inbox meanwhile."""
        self._condition.wait_for(check, deadline)

    def _read(self, raw: "_Raw", sent: SentMessage) -> Any:
        """Decode a reply: the waiting thread's, as deserializers are the user's."""
        try:
            decoded = self._codec._decode_event(raw.payload)
            got = decoded if isinstance(decoded, Event) else parse_event(decoded)
        except MalformedMessage as error:
            return error
        address = raw.address

        def reply(event: str, args: Any = (), on_reply: OnReply | None = None) -> SentMessage:
            if on_reply is not None:
                raise ValueError("on_reply: the answer of a client elsewhere has no thread to call it on; wait_reply()")
            return self.ask(address, check_event_name(event), check_args(args), got.ids.event_id)

        return Reply(got.name, got.args, reply, got.ids)


class _Raw:
    """A reply as it came."""

    __slots__ = ("address", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.address = ""


class Answering:
    """Does what other nodes want of clients of this node.

    ``take`` belongs to the thread that reads the inbox, or that asks on this node itself. Messages whose answer is
    still to come are kept here, so that the connection's table, which knows them weakly, has them.
    """

    def __init__(self, clients: "Clients", codec: Codec) -> None:
        self._clients = clients
        self._codec = codec
        self._lock = make_lock()  # a leaf, which may be taken under an inbox's
        self._asked: dict[_Asked, None] = {}  # in their order

    def take(self, message: list[Any], answer: Callable[[str, list[Any]], object]) -> None:
        """Send a message to a client, or close its connection; ``answer(node, message)`` takes what comes of it."""
        what, *rest = message
        if what == CLOSE:
            address, code, reason = rest
            session = self._clients.find(address)
            if session is not None:
                session.connection.disconnect(code, reason)
            return
        node, number, address, event, body, reply_to = rest
        session = self._clients.find(address)
        if session is None:
            answer(node, [ANSWER, number, ENDED, *_NO_SUCH])
            return
        connection = session.connection
        asked = _Asked(self, connection, reply_to, event, lambda *outcome: answer(node, [ANSWER, number, *outcome]))
        with self._lock:
            self._asked[asked] = None
            if len(self._asked) > _MOST_ASKED:
                forgotten = next(iter(self._asked))
                del self._asked[forgotten]
        outcome: Any = None
        try:
            outcome = connection._put_event(asked, self._codec._encode_event, event, body, None, reply_to)
        finally:
            if outcome is not asked:
                self.forget(asked)
        if outcome is REFUSED:
            answer(node, [ANSWER, number, ENDED, *(connection.stream.ending or _NO_SUCH)])
        elif outcome is not asked:
            answer(node, [ANSWER, number, NO_ROOM])

    def forget(self, asked: "_Asked") -> None:
        """Let go of a message that has been answered."""
        with self._lock:
            self._asked.pop(asked, None)


class _Asked(SentMessage):
    """A message that another node waits for the answer of."""

    __slots__ = ("_answer", "_answering")

    def __init__(
        self, answering: Answering, connection: Any, reply_to: int | None, event: str, answer: Callable[..., object]
    ) -> None:
        super().__init__(connection, None, reply_to, None, event)
        self._answering = answering
        self._answer = answer

    def _settle(self, outcome: Outcome, payload: bytes | None = None) -> None:
        if self._outcome is None:
            self._outcome = outcome
            self._answering.forget(self)
            if payload is not None:
                self._answer(REPLIED, payload)
            elif isinstance(outcome, Ending):
                self._answer(ENDED, *outcome)
