"""A log in memory, which several servers of one process share, and on which a test acts."""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from ..cluster.entries import encode_batch
from ..cluster.log import Id, LogDown, Opened, Read
from ..options import check_seconds
from ..threads import clock
from ..threads.deadline import NEVER, Deadline
from ..threads.waiting import Condition

__all__ = ["FakeBackplane"]

_BLOCK = 1.0  # seconds that a node's read waits, if nothing comes
_MOST_READ = 64  # entries at once


class _Entry(NamedTuple):
    id: Id
    content: bytes
    due: float  # when readers see it


class FakeBackplane:
    """A backplane for tests: ``EZEZWebsocketServer(backplane=fake, …)`` for each of the nodes.

    It orders, numbers and keeps as ``RedisBackplane`` does; nothing leaves the process. Its clock is the library's:
    with ``FakeClock`` give it a longer ``heartbeat``, as each is a step of ``advance``. Any thread may call any method.

    Args:
        max_length: entries beyond which the oldest are dropped.
        heartbeat: seconds between two signs of life of a node.
        node_timeout: seconds without one, after which a node is gone.
        connect_timeout: seconds that a server's start waits for the log.
    """

    def __init__(
        self,
        *,
        max_length: int = 50_000,
        heartbeat: float = 0.25,
        node_timeout: float = 1.5,
        connect_timeout: float = 2.0,
    ) -> None:
        check_seconds("heartbeat", heartbeat)
        check_seconds("node_timeout", node_timeout)
        check_seconds("connect_timeout", connect_timeout)
        if node_timeout <= heartbeat:
            raise ValueError(f"node_timeout ({node_timeout}) must be more than heartbeat ({heartbeat})")
        self.heartbeat = heartbeat
        self.node_timeout = node_timeout
        self.connect_timeout = connect_timeout
        self._max_length = max_length
        self._condition = Condition()  # its lock guards all that follows
        self._entries: list[_Entry] = []
        self._inboxes: dict[str, list[bytes]] = {}
        self._last: Id = (0, 0)
        self._secret = secrets.token_bytes(32)
        self._epoch = secrets.token_hex(8)
        self._is_down = False
        self._delay = 0.0

    def down(self) -> None:
        """Be gone, until ``up``: whoever reads or writes has ``LogDown`` at once. Nothing is lost."""
        with self._condition.lock:
            self._is_down = True
            self._condition.changed()

    def up(self) -> None:
        """Be there again."""
        with self._condition.lock:
            self._is_down = False
            self._condition.changed()

    def empty(self) -> None:
        """Lose everything, as a broker does that was restarted or flushed: the log is another one."""
        with self._condition.lock:
            self._entries, self._inboxes, self._last = [], {}, (0, 0)
            self._secret, self._epoch = secrets.token_bytes(32), secrets.token_hex(8)
            self._condition.changed()

    def delay(self, seconds: float) -> None:
        """Have what is appended from now on reach the nodes so many seconds later; 0: at once."""
        check_seconds("seconds", seconds, zero=True)
        with self._condition.lock:
            self._delay = seconds

    def make_reader(self, node: str, inbox_only: bool = False) -> "_Reader":
        """Make a reader; see ``Backplane``."""
        return _Reader(self, node, inbox_only)

    def make_writer(self, timeout: float | None = None) -> "_Writer":
        """Make a writer; see ``Backplane``."""
        return _Writer(self)

    def __repr__(self) -> str:
        return f"<FakeBackplane, {len(self._entries)} entries>"

    def _append(self, content: bytes) -> None:
        """Requires holding the lock."""
        now = clock.monotonic()
        ms = max(int(now * 1000), self._last[0])
        self._last = (ms, self._last[1] + 1 if ms == self._last[0] else 0)
        due = max(now + self._delay, self._entries[-1].due if self._entries else 0.0)  # in their order
        self._entries.append(_Entry(self._last, content, due))
        del self._entries[: -self._max_length]
        self._condition.changed()


class _End:
    """What a reader and a writer have in common."""

    def __init__(self, plan: FakeBackplane) -> None:
        self._plan = plan
        self._is_cut = False

    def cut(self) -> None:
        """See ``LogReader`` and ``LogWriter``."""
        with self._plan._condition.lock:
            self._is_cut = True
            self._plan._condition.changed()

    def _check(self) -> None:
        """Requires holding the lock."""
        if self._is_cut:
            raise LogDown("closed")
        if self._plan._is_down:
            raise LogDown("the fake log is down")


class _Reader(_End):
    def __init__(self, plan: FakeBackplane, node: str, inbox_only: bool) -> None:
        super().__init__(plan)
        self._node = node
        self._inbox_only = inbox_only
        self._epoch = ""

    def open(self) -> Opened:
        """See ``LogReader``."""
        with self._plan._condition.lock:
            self._check()
            return self._meet()

    def _meet(self) -> Opened:
        plan = self._plan
        plan._inboxes.setdefault(self._node, [])
        self._epoch = plan._epoch
        return Opened(plan._epoch, plan._secret, plan._last)

    def read(self, after: Id, wait: float) -> Read | Opened:
        """See ``LogReader``; a wait that is as long as a node's lasts until something comes.

        Nothing is gained here by looking now and then, and under ``FakeClock`` each look is a step.
        """
        deadline = Deadline(wait) if self._inbox_only or wait < _BLOCK else NEVER
        condition = self._plan._condition
        while True:
            with condition.lock:
                due = self._due(after)

            def look(due: float | None = due) -> Read | Opened | bool | None:
                self._check()
                return self._find(after) or (None if self._due(after) == due else False)  # which is to be waited for

            found = condition.wait_for(look, Deadline.of(due).sooner(deadline))
            if isinstance(found, (Read, Opened)):
                return found
            if deadline.passed():
                return Read([], [])

    def _due(self, after: Id) -> float | None:
        """Return when the next entry comes, where it is there. Requires holding the lock."""
        entries = () if self._inbox_only else self._plan._entries
        return next((one.due for one in entries if one.id > after), None)

    def _find(self, after: Id) -> Read | Opened | None:
        """Return what there is now. Requires holding the lock."""
        plan, now = self._plan, clock.monotonic()
        if plan._epoch != self._epoch:
            return self._meet()
        inbox, plan._inboxes[self._node] = plan._inboxes.get(self._node, []), []
        entries = () if self._inbox_only else plan._entries
        found = [(one.id, one.content) for one in entries if one.id > after and one.due <= now][:_MOST_READ]
        return Read(found, inbox, plan._last if len(found) == _MOST_READ else None) if found or inbox else None

    def close(self) -> None:
        """See ``LogReader``."""
        with self._plan._condition.lock:
            self._plan._inboxes.pop(self._node, None)


class _Writer(_End):
    def open(self) -> str:
        """See ``LogWriter``."""
        with self._plan._condition.lock:
            self._check()
            return self._plan._epoch

    def append(self, publications: Sequence[bytes]) -> None:
        """See ``LogWriter``."""
        content = encode_batch(publications)
        with self._plan._condition.lock:
            self._check()
            self._plan._append(content)

    def send_to(self, node: str, message: bytes) -> bool:
        """See ``LogWriter``."""
        with self._plan._condition.lock:
            self._check()
            inbox = self._plan._inboxes.get(node)
            if inbox is not None:
                inbox.append(message)
                self._plan._condition.changed()
            return inbox is not None

    def has_inbox(self, node: str) -> bool:
        """See ``LogWriter``."""
        with self._plan._condition.lock:
            self._check()
            return node in self._plan._inboxes

    def trim(self, before_ms: int) -> None:
        """See ``LogWriter``."""
        with self._plan._condition.lock:
            self._check()
            self._plan._entries = [one for one in self._plan._entries if one.id[0] >= before_ms]

    def close(self) -> None:
        """See ``LogWriter``."""
