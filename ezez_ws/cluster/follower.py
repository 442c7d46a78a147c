"""Reads the log from one end to the other: what a node delivers, and all that it knows of the others, comes from there.

Its thread, ``ezez-backplane-in``, runs no code of the user's: ``LogReader`` → ``Fold`` → ``Clients``, and a ``Teller``.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable

from ..errors import NotReady
from ..logs import cluster_logger, limited, shown
from ..messages.recovery import Position
from ..threads import clock
from ..threads.deadline import Deadline
from ..threads.starting import join_thread, start_thread
from ..threads.waiting import Condition, Event
from .audience import ClusterStatus, Member
from .clients import Clients
from .entries import Beat, Command, Said
from .fold import AskListings, Changed, Deliver, Effect, Fold, Foreign, Gap, NodeGone, NodeJoined, PutListing, Repeat
from .log import Backplane, Id, LogDown, LogReader, Opened
from .publisher import Publisher
from .teller import Teller

__all__ = ["Follower"]

_BLOCK = 1.0  # seconds of one read
_WAKES = 1.2  # seconds after which it has come to an end, if the broker answers
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Follower:
    """The reading side of a node.

    ``_condition.lock``, a leaf, guards the fold, ``connected``, what is known of why not, what is to be told, the
    counters and what is measured; the other fields are the thread's.
    ``met`` is set when what the log held at the start has been read, or, if that was nothing, the first entry.
    """

    def __init__(self, backplane: Backplane, node: str, clients: Clients, publisher: Publisher, teller: Teller) -> None:
        self.met = Event()
        self.connected = False
        self.reconnects = self.epochs = 0
        self._down = {"reading": "", "writing": ""}  # which side has not got the log, and why
        self._node = node
        self._clients = clients
        self._publisher = publisher
        self._teller = teller
        self._condition = Condition()
        self._fold = Fold(node, backplane.heartbeat, backplane.node_timeout)
        self._reader: LogReader = backplane.make_reader(node)
        self._closing = Event()
        self._waits_no_more = False
        self._thread = threading.Thread(target=self._run, name="ezez-backplane-in", daemon=True)
        self._epoch = ""
        self._after: Id = (0, 0)
        self._old_until: Id | None = None  # what the log held when it was met, and is still to be read
        self._is_silent = True  # none was read before: that is delivered to nobody
        self._told_down = ""
        self._to_tell: deque[tuple[int, str, str]] = deque()
        self._tells = False
        self._holds = False  # several entries were read at once
        self._trim_at = 0  # of the log's time, when it is trimmed again
        self._heartbeat = round(backplane.heartbeat * 1000)
        self._patience = round(backplane.node_timeout * 1000)
        self._gone: list[str] = []  # nodes, to be told when what they have sent before is
        self._lag = 0.0  # seconds of the log's time that are still to be read
        self._heard_at = clock.monotonic()  # anybody, in the log

    def start(self) -> None:
        """Begin to read."""
        start_thread(self._thread)

    def stop_waiting(self) -> None:
        """Have nobody wait for members any more."""
        with self._condition.lock:
            self._waits_no_more = True
            self._condition.changed()

    def stop(self) -> None:
        """Have the thread end with what it reads next."""
        self._closing.set()

    def close(self, deadline: Deadline) -> None:
        """Stop reading, and wait for the thread. Idempotent."""
        self.stop()
        if self._thread.ident is None:
            self._reader.close()
            return
        join_thread(self._thread, deadline.remaining_of(_WAKES))  # our goodbye has woken it
        if self._thread.is_alive():
            self._reader.cut()
            join_thread(self._thread, deadline.remaining())

    # -- what is known; any thread ------------------------------------------------------------------------------------

    def members(self, room: str, deadline: Deadline) -> list[Member]:
        """Return who is listed in a room.

        ``NotReady``: not all nodes have said so yet; ``RuntimeError``: nor will they, as the server closes.
        """

        def look() -> list[Member] | None:
            members = self._fold.members(room)
            if members is None and self._waits_no_more:
                raise RuntimeError("members() needs a server that runs, and this one is closed")
            return members

        members = self._condition.wait_for(look, deadline)
        if members is None:
            raise NotReady(f"members of {room!r}: this node has not heard yet from all others who is in their rooms")
        return members

    def complete(self, status: ClusterStatus) -> ClusterStatus:
        """Add what is known of the log and the other nodes."""
        with self._condition.lock:
            fold = self._fold
            return status._replace(
                connected=self.connected,
                lag=self._lag if self.connected else None,
                nodes=fold.nodes,
                repeats=fold.repeats,
                gaps=fold.gaps,
                foreign=fold.foreign,
                epochs=self.epochs,
                reconnects=self.reconnects,
            )

    def silence(self) -> dict[str, float]:
        """Return for how many seconds each living node has not been heard of.

        To the log's time, which stands still while there is no log, comes what has gone by since something was read.
        """
        with self._condition.lock:
            since = clock.monotonic() - self._heard_at
            return {node: silent + since for node, silent in self._fold.silence().items()}

    def is_known(self, node: str) -> bool:
        """Tell whether a node is among the living."""
        with self._condition.lock:
            return node in self._fold.nodes

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while not self._closing.is_set():
                try:
                    self._meet(self._reader.open())
                    self._read(0.0)  # before it is told, as this may be what fails
                    self.note("reading", None)
                    pause = _FIRST_PAUSE
                    while not self._closing.is_set():
                        self._read()
                except LogDown as error:
                    if not self._closing.is_set():
                        self.note("reading", error)
                        self._closing.wait(pause)
                        pause = min(pause * 2, _LONGEST_PAUSE)
        except BaseException:
            cluster_logger.exception(
                "an error has ended the thread %s: this node hears nothing any more", self._thread.name
            )
        finally:
            self.met.set()
            with self._condition.lock:
                self.connected = False
            self._reader.close()

    def _read(self, wait: float = _BLOCK) -> None:
        found = self._reader.read(self._after, wait)
        if isinstance(found, Opened):
            self._meet(found)
            return
        self._holds = len(found.entries) > 1
        try:
            for entry_id, batch in found.entries:
                if self._old_until is not None and entry_id > self._old_until:
                    self._go_on()
                self._feed(entry_id, batch)
        finally:
            self._clients.let_go()
        for message in found.inbox:
            self.on_inbox(message)
        while self._gone:
            self.on_node_gone(self._gone.pop(0))
        with self._condition.lock:
            if found.entries:
                self._heard_at = clock.monotonic()
            self._lag = 0.0 if found.newest is None else max(0.0, (found.newest[0] - self._after[0]) / 1000)
        if self._old_until is not None and self._after >= self._old_until:
            self._go_on()

    on_inbox: Callable[[bytes], object] = bool  # what to do with a message for this node alone
    on_node_gone: Callable[[str], object] = bool

    def _meet(self, opened: Opened) -> None:
        """See which log this is."""
        if opened.epoch == self._epoch:
            return
        first, self._epoch, self._after = not self._epoch, opened.epoch, (0, 0)
        if not first:
            with self._condition.lock:
                self._fold.new_epoch()
                self.epochs += 1
        self._clients.begin_epoch(Position(opened.epoch, 0, 0, 0), opened.secret, rereads=not self._is_silent)
        self._old_until = opened.last
        if opened.last == (0, 0):
            self._go_on()
        if not first:
            self._publisher.resend_recent(opened.epoch)
            text = "the log is another one: the broker was restarted, replaced or emptied"
            self._tell(logging.WARNING, "epoch", text)

    def _go_on(self) -> None:
        """What the log held when we met it has been read: from now on it is delivered, and new."""
        self._old_until = None
        if self._is_silent:
            self._is_silent = False
            self._clients.begin_delivering()
            if self._after != (0, 0):  # else there is no place in the log yet that a client could come back from
                self.met.set()
        else:
            self._clients.end_rereading()

    def _feed(self, entry_id: Id, batch: bytes) -> None:
        if self._after == (0, 0):
            self._clients.begin_window((*entry_id, -1))
        with self._condition.lock:
            effects = self._fold.feed(entry_id[0], batch)
            self._condition.changed()
        last = 0
        rereads = self._old_until is not None and self.epochs > 0
        epoch, (ms, n), pass_on = self._epoch, entry_id, self._clients.pass_on
        for effect in effects:
            if isinstance(effect, Deliver):
                last, (producer, _, what, again) = effect
                assert isinstance(what, (Said, Command))
                delivers = not self._is_silent or producer == self._node
                pass_on(Position(epoch, ms, n, last), what, delivers, rereads or again, self._holds)
            elif isinstance(effect, Repeat):
                if effect.earlier:  # our window has it not, though clients of other nodes may have missed it
                    last = effect.earlier
                    self._clients.begin_window((*entry_id, last))
            else:
                self._act(effect, entry_id)
        self._after = entry_id
        if entry_id[0] >= self._trim_at:
            self._trim_at = entry_id[0] + self._heartbeat
            # others, who are as far behind as a node that lives may be, have still to read the rest
            self._publisher.trim(max(0, min(self._clients.window.let_go_ms, entry_id[0] - self._patience)))
        self._clients.pass_on(Position(self._epoch, *entry_id, max(last, 1)), None)
        if not self._is_silent:
            self.met.set()

    def _act(self, effect: Effect, entry_id: Id) -> None:
        if isinstance(effect, Changed):
            if not self._is_silent:
                self._teller.tell_member(effect.change, effect.member)
        elif isinstance(effect, Gap):
            if effect.nth:
                self._clients.pass_on(Position(self._epoch, *entry_id, effect.nth), None)
            self._clients.lose()
            lost = f"{effect.first} to {effect.last} of {shown(effect.producer)}"
            self._tell(logging.WARNING, "gap", f"publications were lost on their way to this node: {lost}")
        elif isinstance(effect, PutListing):
            self._clients.tell_listing()
        elif isinstance(effect, AskListings):
            self._publisher.put(Beat(asks=True))
        elif isinstance(effect, NodeJoined):
            if effect.node != self._node:
                self._tell(logging.INFO, "node-joined", effect.node)
        elif isinstance(effect, NodeGone):
            if effect.node != self._node:
                self._tell(logging.INFO, "node-gone", effect.node)
                self._gone.append(effect.node)
        elif isinstance(effect, Foreign):
            limited.tell(logging.WARNING, "foreign", "an entry of the log was left out: %s", shown(effect.text), few=1)

    # -- telling ------------------------------------------------------------------------------------------------------

    def note(self, side: str, down: LogDown | None) -> None:
        """Note that one side, ``"reading"`` or ``"writing"``, has the log now, or why not. Any thread's."""
        with self._condition.lock:
            if down is None:
                self._down.pop(side, None)
            else:
                self._down[side] = str(down)
                self.reconnects += 1
            was, self.connected = self.connected, not self._down and self._thread.is_alive()
            is_news = down is not None and (not self._told_down or (down.severe and str(down) != self._told_down))
            back = self.connected and not was
            told, self._told_down = self._told_down, "" if self.connected else str(down) if is_news else self._told_down
            if back:
                self._to_tell.append((logging.WARNING if told else logging.INFO, "up", "connected to the log"))
            elif is_news and down is not None:
                self._to_tell.append((logging.ERROR if down.severe else logging.WARNING, "down", str(down)))
        self._tell_all()

    def _tell(self, level: int, change: str, detail: str) -> None:
        with self._condition.lock:
            self._to_tell.append((level, change, detail))
        self._tell_all()

    def _tell_all(self) -> None:
        """Tell what has changed, in that order, unless another thread is telling, and tells this, too."""
        while True:
            with self._condition.lock:
                if not self._to_tell or self._tells:
                    return
                self._tells = True
                level, change, detail = self._to_tell.popleft()
            try:
                cluster_logger.log(level, "%s: %s", change, shown(detail, 400))
                self._teller.tell_cluster(change, detail)
            finally:
                with self._condition.lock:
                    self._tells = False
