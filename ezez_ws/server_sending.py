"""What a server sends to many of its clients: to rooms, to everyone, to those of this process."""

from collections.abc import Callable, Sequence

from . import callbacks
from .calls.answers import Result
from .calls.calling import call_each
from .cluster.audience import Audience, ClusterStatus, Member, Publication, Publishing
from .cluster.entries import Command, Said, Target
from .cluster.hub import Hub
from .cluster.remote import RemoteClient
from .cluster.rooms import check_room
from .connection.outgoing import Broadcast
from .connection.replies import EventArgs
from .connection.server_side import ServerConnection
from .context import C
from .figures import Figures
from .messages.recovery import EVERYONE
from .options import check_callback, check_seconds
from .server_client import EZEZServerClient
from .server_run import ServerRun
from .threads.fork import ForkGuard
from .threads.interrupted import calls_user_code

__all__ = ["ToMany"]


class ToMany(callbacks.ServerListening[C]):
    """What a server has for that. Every method may be called from any thread."""

    _ezez_publishing: Publishing
    _ezez_figures: Figures
    _ezez_fork_guard: ForkGuard
    _ezez_has_backplane: bool

    def _ezez_hub(self, what: str) -> Hub:
        """Return the node that ``what`` is done by."""
        raise NotImplementedError

    def _ezez_current_run(self) -> ServerRun | None:
        """Return what runs."""
        raise NotImplementedError

    def _ezez_connections(self) -> Sequence[ServerConnection]:
        """Return who is connected."""
        raise NotImplementedError

    def _ezez_publish(self, what: Said | Command) -> Publication:
        if isinstance(what, Said):
            self._ezez_figures.broadcasted()
        return self._ezez_hub("publishing").publish(what)

    def to(self, *rooms: str) -> Audience:
        """Return who is in one of these rooms, on all nodes; without rooms, nobody."""
        return Audience(self._ezez_publishing, Target(tuple(map(check_room, rooms))))

    @property
    def everyone(self) -> Audience:
        """Every authenticated client, on all nodes."""
        return Audience(self._ezez_publishing, Target((EVERYONE,)))

    def client_at(self, address: str) -> RemoteClient:
        """Return one client, on whichever node it is, by its ``address``. Nobody is asked whether it is there.

        ``RuntimeError``: the server has a port and is not started, or is closed.
        """
        return RemoteClient(self._ezez_hub("client_at()").asks, address)

    def members(self, room: str, timeout: float = 0.0) -> list[Member]:
        """Return who is listed in a room (``join`` with ``info``), on all nodes, without asking the broker.

        Args:
            timeout: seconds to wait, right after the start, until this node has heard from all others.

        Raises:
            NotReady: it has not, in that time.
            RuntimeError: the server has a port and is not started, or is closed.
        """
        check_seconds("timeout", timeout, zero=True)
        return self._ezez_hub("members()").members(check_room(room), timeout)

    @property
    def cluster(self) -> ClusterStatus:
        """What this node knows of its cluster, and what it has done since its ``start``; zeros while not started."""
        self._ezez_fork_guard.check()
        run = self._ezez_current_run()
        return ClusterStatus(False, "", "", None, ()) if run is None else run.hub.status()

    @calls_user_code
    def broadcast(
        self,
        event: str,
        args: EventArgs = (),
        where: Callable[[EZEZServerClient[C]], object] | None = None,
        *,
        local: bool = False,
    ) -> int:
        """Send an event to every authenticated client, and return to how many. It never waits for a slow one.

        The arguments, which are as in ``EZEZServerClient.send``, are encoded once; where they are wrong nothing is
        sent. A client without room in its send buffer is cut; ``on_disconnect`` says 1008. With a ``backplane`` it is
        ``everyone.send``, to the clients of all nodes, and returns how many this node has.

        Args:
            where: asked for each client; only those for which it holds get the event. What it raises comes out here.
                With a backplane it is a ``ValueError``, as it cannot travel: use rooms.
            local: with a backplane, keep to the clients of this process: at once, and not recovered.
        """
        self._ezez_fork_guard.check()
        if self._ezez_has_backplane and not local:
            if where is not None:
                raise ValueError(
                    "where cannot travel to other nodes: have those clients join a room, and use to(room).send(...);"
                    " or keep to this process's clients by local=True"
                )
            self.everyone.send(event, args)
            return sum(one.authenticated for one in self._ezez_connections())
        broadcast = Broadcast.of(self._ezez_publishing.codec, event, args)
        check_callback("where", where, "client")
        self._ezez_figures.broadcasted()
        sent = 0
        for one in self._ezez_connections():
            if one.authenticated and (where is None or where(one.client)):
                sent += one.broadcast(broadcast)
        return sent

    @calls_user_code
    def call_all(
        self,
        event: str,
        args: callbacks.EventArgs = (),
        where: Callable[[EZEZServerClient[C]], object] | None = None,
        timeout: float | None = 10.0,
    ) -> dict[EZEZServerClient[C], Result]:
        """Call every authenticated client of this process at once, and gather what they answer.

        On any thread, in a listener too. It never waits for room: a client without room in its send buffer has a
        ``SendTimeout`` in its result, and is not cut. Others have there what ``call`` raises.

        Args:
            event: as in ``EZEZServerClient.send``.
            args: as there; encoded once.
            where: asked for each client; only those for which it holds are called. What it raises comes out here.
            timeout: seconds for all together; ``None``: as long as replies are waited for at all.
        """
        self._ezez_fork_guard.check()
        return call_each(self._ezez_connections(), self._ezez_publishing.codec, event, args, where, timeout)
