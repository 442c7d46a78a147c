"""Who a publication is for, and what publishing returns: the values that users see of a cluster."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from ..connection.replies import EventArgs
from ..messages.codec import Codec
from ..messages.protocol import CloseCode, check_close, check_event_name
from ..options import check_args, check_seconds
from ..threads.deadline import Deadline
from ..threads.fork import Uncopied
from ..threads.interrupted import refuse_to_wait
from .entries import Command, Said, Target
from .rooms import check_room

__all__ = ["Audience", "ClusterStatus", "Confirming", "Joined", "Member", "Publication", "Publishing"]


class Joined(NamedTuple):
    """What ``join`` returns."""

    recovered: Mapping[str, bool | None]
    """For each room: ``None``, the client was not in it before; true, it has got all that it missed there; false, it
    was in it, and what it missed is gone."""
    replayed: int
    """How many events that were missed have been sent."""


class Member(NamedTuple):
    """A client that is listed in a room."""

    address: str
    room: str
    info: Any
    node: str
    local: bool
    """Whether it is a client of this node."""


class ClusterStatus(NamedTuple):
    """What a node knows of its cluster, and what it has done; counters count from its ``start``."""

    connected: bool
    """Whether the log can be read and written. Always, without a backplane."""
    epoch: str
    position: str
    lag: float | None
    """Seconds between the newest publication in the log and the one read last; ``None`` while not connected."""
    nodes: tuple[str, ...]
    published: int = 0
    confirmed: int = 0
    delivered: int = 0
    queued_bytes: int = 0
    repeats: int = 0
    gaps: int = 0
    epochs: int = 0
    reconnects: int = 0
    foreign: int = 0
    window_entries: int = 0
    window_bytes: int = 0
    window_seconds: float = 0.0
    recovered: int = 0
    replayed: int = 0
    missed: int = 0


class Confirming(Protocol):
    """Knows whether the log has a publication."""

    def wait_confirmed(self, deadline: Deadline) -> bool:
        """Wait until the log has it; false: the time passed. ``PublishFailed``: it will never have it."""


class Publication(Uncopied):
    """Something that was published. Nobody needs to wait for it: it is on its way, whatever becomes of this object."""

    __slots__ = ("_confirming",)

    def __init__(self, confirming: Confirming | None = None) -> None:
        self._confirming = confirming  # ``None``: the log has it

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the log has it, and so every node that lives will read it. Any thread may call it.

        Args:
            timeout: seconds; 0 looks only; ``None`` waits for as long as it takes.

        Returns:
            False where the time passed: it is still tried.

        Raises:
            PublishFailed: the server was closed before the log had it.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        if self._confirming is None:
            return True
        if timeout != 0:
            refuse_to_wait("wait()")
        return self._confirming.wait_confirmed(Deadline(timeout))


class Publishing(NamedTuple):
    """How the publications of an audience are encoded, and where they go: to a server's node, or an emitter."""

    codec: Codec
    publish: Callable[[Said | Command], Publication]


class Audience(Uncopied):
    """Clients to be, on all nodes: those who are in one of some rooms when a publication reaches their node.

    Immutable, and cheap to make. Any thread may call any method; none waits for a client, and a server's none for the
    broker. Each client gets a publication once, in however many of the rooms it is.
    """

    __slots__ = ("_publishing", "_target")

    def __init__(self, publishing: Publishing, target: Target) -> None:
        self._publishing = publishing
        self._target = target

    def send(self, event: str, args: EventArgs = ()) -> Publication:
        """Send an event; the arguments, as in ``EZEZServerClient.send``, are encoded at once.

        Raises:
            TypeError, ValueError, SerializationError: a wrong event name or ``args``, or more than
                ``max_publication`` bytes; nothing is sent.
            QueueFull: more than ``publish_buffer_limit`` bytes would wait for the broker; nothing is sent.
            RuntimeError: the server has a port and is not started, or is closed.
        """
        return self._publishing.publish(
            Said(self._target, check_event_name(event), self._publishing.codec.encode(check_args(args)))
        )

    def except_(self, *who: Any) -> "Audience":
        """Return the same audience without who is in these rooms (``str``), or is one of these clients."""
        rooms, but_rooms, but_clients = self._target
        for one in who:
            if isinstance(one, str):
                but_rooms += (check_room(one),)
            elif isinstance(getattr(one, "_ezez_cluster_id", None), str):
                but_clients += (one._ezez_cluster_id,)
            else:
                raise TypeError(f"except_ takes rooms (str) and clients, not {type(one).__name__}")
        return Audience(self._publishing, Target(rooms, but_rooms, but_clients))

    def disconnect(self, code: int = CloseCode.NORMAL, reason: str = "") -> Publication:
        """Close the connection of each client; see ``EZEZServerClient.disconnect``, and ``send`` for what it raises."""
        check_close(code, reason)
        return self._publishing.publish(Command(self._target, "disconnect", (code, reason)))

    def join(self, *rooms: str) -> Publication:
        """Have each client join rooms; one that would be in more than ``max_rooms`` is left out, with a warning."""
        return self._publishing.publish(Command(self._target, "join", tuple(map(check_room, rooms))))

    def leave(self, *rooms: str) -> Publication:
        """Have each client leave rooms."""
        return self._publishing.publish(Command(self._target, "leave", tuple(map(check_room, rooms))))

    def __repr__(self) -> str:
        rooms, but_rooms, but_clients = self._target
        names = "everyone" if rooms == ("*",) else ", ".join(map(repr, rooms)) or "nobody"
        but = [*map(repr, but_rooms), *([f"{len(but_clients)} clients"] if but_clients else [])]
        return f"<Audience {names}{' except ' + ', '.join(but) if but else ''}>"
