"""What reading the log means: repeats, gaps, nodes that live, and who is in their rooms.

Pure: entries of the log in, effects out; not locked, whoever owns it guards it. Nodes that read the same log come to
the same, and nothing that stands in it makes a fold fail or grow without bounds.

**Numbers.** Every producer numbers its publications. A number that was there is a repeat, and is dropped; one that is
left out is a gap: something was lost on the way. One producer not known yet may have begun before the oldest entry
there was, so its first number is a gap only where it is not 1 and 10 minutes have been read. After 20 minutes of
silence a producer is forgotten (at 10, it takes a new name; a node that is cut off keeps its own). All of this outlives
the epoch. What a producer appends again in a new one is a repeat to whoever has read the one before; a node that has
not cannot tell, so it is a gap.

**Time** is that of the log: between two entries that follow each other at most one heartbeat counts, so that a broker
that was frozen makes nobody gone. What is read again in a new epoch takes no time.

**Nodes** are the producers that beat; a list is a beat, too. One is gone when it says so, or ``node_timeout`` after its
last beat; when it beats again it has joined again, as its own fold sees, too. What it says of members counts only while
it lives.

**Lists.** Each node puts the list of its members when a node joins (it itself, too), when one asks, in a new epoch, and
when something of its own was lost. Who has lost something asks. ``members`` is known when after this node's first beat
each node that lived then, or joined since, has put its list, or has gone.
"""

from collections import OrderedDict
from typing import NamedTuple

from ..errors import MalformedMessage, SerializationError
from .audience import Member
from .entries import Beat, Bye, Command, Entry, In, Listing, Out, Said, decode_entry, read_batch
from .roster import Changed, Roster

__all__ = [
    "AskListings",
    "Changed",
    "Deliver",
    "Effect",
    "Fold",
    "Foreign",
    "Gap",
    "NodeGone",
    "NodeJoined",
    "PutListing",
    "Repeat",
]

_READ_LONG = 600_000  # milliseconds, after which no producer is older than what was read
_FORGOTTEN = 1_200_000
_MOST_PRODUCERS = 20_000
_MOST_NODES = 1_000
_MOST_MEMBERS = 1_000_000


class Deliver(NamedTuple):
    """An event or a command, read for the first time: the ``nth`` publication of the log's entry, from 1."""

    nth: int
    entry: Entry


class Gap(NamedTuple):
    """Publications that were lost: numbers of a producer. It comes before what follows them."""

    producer: str
    first: int
    last: int
    nth: int = 0
    """Where not 0, they are here, and this is the last: in an earlier log, too, of which this node knows nothing."""


class NodeJoined(NamedTuple):
    """A node lives, which was not known or was gone."""

    node: str


class NodeGone(NamedTuple):
    """A node does not live any more; its members have left."""

    node: str
    why: str
    """``"bye"`` or ``"timeout"``."""


class Repeat(NamedTuple):
    """A publication that was read before."""

    earlier: int = 0
    """The ``nth`` of the entry where that may have been in an earlier epoch: others may read it here first."""


class Foreign(NamedTuple):
    """Something in the log that this version cannot read."""

    text: str


class PutListing(NamedTuple):
    """This node is to publish the ``Listing`` of its members."""


class AskListings(NamedTuple):
    """This node is to publish ``Beat(asks=True)``."""


Effect = Deliver | Gap | NodeJoined | NodeGone | Changed | Repeat | Foreign | PutListing | AskListings


class Fold:
    """What one node has learnt from the log.

    Args:
        node: its own name.
        heartbeat, node_timeout: the backplane's, in seconds.
    """

    def __init__(self, node: str, heartbeat: float, node_timeout: float) -> None:
        self.repeats = self.gaps = self.foreign = 0
        self._node = node
        self._heartbeat = round(heartbeat * 1000)
        self._timeout = round(node_timeout * 1000)
        self._roster = Roster(node)
        self._clock = 0  # milliseconds of the log's time that have been read
        self._last_ms: int | None = None  # the entry that moved it last
        self._is_first = True  # no other log was read
        self._producers: OrderedDict[str, tuple[int, int]] = OrderedDict()  # last number, when; longest silent first
        self._earlier: dict[str, int] = {}  # their last numbers in earlier epochs
        self._begun: dict[str, int] = {}  # the first number that was read of those whose first was not
        self._away: OrderedDict[str, int] = OrderedDict()  # those of nodes that are gone, and have not said so
        self._beats: OrderedDict[str, int] = OrderedDict()  # when a node beat last; the longest ago first
        self._awaited: set[str] | None = None  # whose lists are to come; ``None``: this node has not beaten yet
        self._puts = self._asks = False  # what this node is to publish
        self._put_at: int | None = None  # when it was told to; ``None``: its list has been read
        self._asked_at = -self._heartbeat

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes that live, in order."""
        return tuple(sorted(self._beats))

    def silence(self) -> dict[str, float]:
        """Return for how many seconds of the log's time each of them has been silent."""
        return {node: (self._clock - beat) / 1000 for node, beat in sorted(self._beats.items())}

    def members(self, room: str) -> list[Member] | None:
        """Return who is listed in a room; ``None``: the lists of all nodes have not been read yet."""
        return self._roster.members(room) if self._awaited is not None and not self._awaited else None

    def new_epoch(self) -> None:
        """Go on with another log, or with the same from its beginning; what is known is kept."""
        self._last_ms, self._is_first = None, False
        self._earlier = {producer: last for producer, (last, _) in self._producers.items()}
        self._puts, self._put_at = True, None

    def feed(self, ms: int, batch: bytes) -> list[Effect]:
        """Take the next entry of the log, and the time that it bears; return what comes of it, in order."""
        effects: list[Effect] = []
        try:
            publications = read_batch(batch)
        except MalformedMessage as error:
            self._refuse(str(error), effects)
            return effects
        producer, last = "", 0  # of an event right before, which was delivered
        for nth, found in enumerate(publications, 1):
            entry = self._decode(found, effects) if isinstance(found, bytes) else found
            if entry is None:
                producer = ""
            elif entry[0] == producer and entry[1] == last + 1 and type(entry[2]) is Said and not entry[3]:
                last += 1  # the usual case: it is new, the next, and takes no time
                self._producers[producer] = (last, self._clock)
                effects.append(Deliver(nth, entry))
            elif self._count(ms, nth, entry, effects):
                self._take(nth, entry, effects)
                producer, last = entry.producer, entry.seq
            else:
                producer = ""
        self._expire(effects)
        self._call_for_lists(effects)
        return effects

    def _decode(self, data: bytes, effects: list[Effect]) -> Entry | None:
        try:
            entry = decode_entry(data)
        except MalformedMessage as error:
            self._refuse(str(error), effects)
            return None
        if entry is None:
            self._refuse("a publication in the format of another version", effects)
        return entry

    def _refuse(self, text: str, effects: list[Effect]) -> None:
        self.foreign += 1
        effects.append(Foreign(text))

    def _count(self, ms: int, nth: int, entry: Entry, effects: list[Effect]) -> bool:
        """Tell whether a number is new, and whether some are missing before it. What is new takes its time."""
        producer, seq = entry.producer, entry.seq
        known = self._producers.get(producer)
        had = self._away.get(producer, 0) if known is None else known[0]
        if seq <= had:
            self.repeats += 1
            if entry.again and seq < self._begun.get(producer, 0):  # what comes behind it was there before it
                effects.append(self._skip(nth, entry, effects))
            else:
                effects.append(Repeat(nth if entry.again or seq <= self._earlier.get(producer, 0) else 0))
            return False
        if self._last_ms is not None:
            self._clock += min(max(ms - self._last_ms, 0), self._heartbeat)
        self._last_ms = ms
        if not had and seq > 1:
            self._begun[producer] = seq
        due = had + 1
        if seq > due:
            if had or self._clock >= _READ_LONG:
                self.gaps += 1
                effects.append(Gap(producer, due, seq - 1))
            if producer == self._node:  # our first beat may be among them, and the others have answered that one
                self._puts = self._asks = True
                self._put_at = None
            elif self._awaited is not None:
                self._asks = True
        self._producers[producer] = (seq, self._clock)
        self._producers.move_to_end(producer)
        return True

    def _take(self, nth: int, entry: Entry, effects: list[Effect]) -> None:
        node, what = entry.producer, entry.what
        if isinstance(what, (Said, Command)):
            effects.append(self._skip(nth, entry, effects) if entry.again and self._is_first else Deliver(nth, entry))
        elif isinstance(what, (Beat, Listing)):
            self._beat(node, effects)
        if isinstance(what, Beat):
            self._puts = self._puts or what.asks
        elif node not in self._beats:
            return
        elif isinstance(what, Bye):
            self._end(node, "bye", effects)
        elif isinstance(what, (In, Out, Listing)):
            self._list(node, what, effects)

    def _skip(self, nth: int, entry: Entry, effects: list[Effect]) -> Gap:
        """Leave out what others may have delivered already, out of a log that we have not seen."""
        before = effects[-1] if effects else None
        if isinstance(before, Gap) and before.nth and before.producer == entry.producer:
            effects.pop()  # between them there were signs of life at most
            return before._replace(last=entry.seq, nth=nth)
        self.gaps += 1
        return Gap(entry.producer, entry.seq, entry.seq, nth)

    def _beat(self, node: str, effects: list[Effect]) -> None:
        if node not in self._beats:
            if len(self._beats) >= _MOST_NODES:
                self._refuse(f"a beat of one node more than {_MOST_NODES}", effects)
                return
            effects.append(NodeJoined(node))
            self._away.pop(node, None)
            self._puts = True
            if node == self._node:
                self._put_at = None  # a list of before does not count
            if self._awaited:  # once all is known, it stays so
                self._awaited.add(node)
        self._beats[node] = self._clock
        self._beats.move_to_end(node)
        if node == self._node and self._awaited is None:
            self._awaited = set(self._beats)

    def _list(self, node: str, what: In | Out | Listing, effects: list[Effect]) -> None:
        more = len(what.members) if isinstance(what, Listing) else int(isinstance(what, In))
        if more and len(self._roster) + more > _MOST_MEMBERS:
            self._refuse(f"members beyond {_MOST_MEMBERS}", effects)
            return
        try:
            if isinstance(what, Listing):
                effects += self._roster.replace(node, what)
                if self._awaited:
                    self._awaited.discard(node)
                if node == self._node:
                    self._put_at = None
                return
            change = self._roster.enter(node, what) if isinstance(what, In) else self._roster.leave(node, what)
        except SerializationError as error:
            self._refuse(f"an info that cannot be sent: {error}", effects)
            return
        if change is not None:
            effects.append(change)

    def _end(self, node: str, why: str, effects: list[Effect]) -> None:
        del self._beats[node]
        if why == "timeout":  # it may be cut off, for longer than producers are remembered, and goes on then
            self._away[node] = 0
            if len(self._away) > _MOST_NODES:
                self._away.popitem(last=False)
        if self._awaited:
            self._awaited.discard(node)
        effects += self._roster.drop(node)
        effects.append(NodeGone(node, why))

    def _expire(self, effects: list[Effect]) -> None:
        """Note who has been silent for too long; after an entry as a whole, as it may hold his beat."""
        while self._beats:
            node, beat = next(iter(self._beats.items()))
            if self._clock - beat < self._timeout:
                break
            self._end(node, "timeout", effects)
        while self._producers:
            producer, (_, last) = next(iter(self._producers.items()))
            if self._clock - last < _FORGOTTEN and len(self._producers) <= _MOST_PRODUCERS:
                break
            last, _ = self._producers.pop(producer)
            if producer in self._away:
                self._away[producer] = last
            self._begun.pop(producer, None)

    def _call_for_lists(self, effects: list[Effect]) -> None:
        """Say what this node is to publish, once it lives."""
        if self._node not in self._beats:
            return
        if self._asks and self._clock - self._asked_at >= self._heartbeat:
            self._asks, self._asked_at = False, self._clock
            effects.append(AskListings())
        if self._puts:
            self._puts = False
            # one that is on its way comes after what we have read: it serves whoever waits for it now, too
            if self._put_at is None or self._clock - self._put_at >= self._heartbeat:
                self._put_at = self._clock
                effects.append(PutListing())
