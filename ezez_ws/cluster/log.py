"""What a log must do for us: keep what it is given in one order, for a while, and number it.

Another engine than Redis is another ``Backplane``.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

__all__ = ["Backplane", "LogDown", "LogReader", "LogWriter", "Opened", "Read"]

Id = tuple[int, int]
"""The id of an entry of the log: milliseconds of the log's clock, and a number among those of the same one."""


class LogDown(Exception):
    """The log cannot be had now; the text says why, the cause is chained. It is tried again.

    ``severe``: it will hardly get better by itself (a wrong password, a version too old, a key of another type).
    """

    def __init__(self, text: str, severe: bool = False) -> None:
        super().__init__(text)
        self.severe = severe


class Opened(NamedTuple):
    """What a reader finds when it has connected."""

    epoch: str
    """Another one after the log was lost, restarted, or replaced by a replica.

    It is made of letters, digits, ``-`` and ``_``, with no ``-`` at its end.
    """
    secret: bytes
    """Born with the log, known to all nodes; the key of tickets."""
    last: Id
    """The newest entry; ``(0, 0)`` where there is none."""


class Read(NamedTuple):
    """What one read has found."""

    entries: list[tuple[Id, bytes]]
    """What was appended to the log: several publications each."""
    inbox: list[bytes]
    """What came for this node alone."""
    newest: Id | None = None
    """The newest entry, where there is more of the log than is read at once."""


class LogReader(Protocol):
    """Reads the log, and the inbox of one node. ``LogDown`` comes out of every method but ``close`` and ``cut``.

    One thread's; any other may call ``cut``.
    """

    def open(self) -> Opened:
        """Connect, and see what log this is. To be called again after ``LogDown``."""

    def read(self, after: Id, wait: float) -> Read | Opened:
        """Wait at most ``wait`` seconds for entries behind ``after``, or for something in the inbox.

        ``Opened``: the log is another one than before; what has been read from it meanwhile is not handed out.
        """

    def close(self) -> None:
        """Give everything back, and delete the inbox. Idempotent; what fails is not told."""

    def cut(self) -> None:
        """Have the thread that waits in here get ``LogDown`` at once, and whatever it calls later, too."""


class LogWriter(Protocol):
    """Writes to the log. ``LogDown`` comes out of every method but ``close`` and ``cut``.

    One thread's; any other may call ``cut``. A method that needs a connection makes one; after ``LogDown`` it is not
    known whether what was to be written has arrived.
    """

    def open(self) -> str:
        """Connect, unless it is connected; return the epoch that was found then, in the words of ``Opened``."""

    def append(self, publications: Sequence[bytes]) -> None:
        """Append publications, as one entry. It returns when the log has them."""

    def send_to(self, node: str, message: bytes) -> bool:
        """Put a message into the inbox of a node or emitter; false where there is none."""

    def has_inbox(self, node: str) -> bool:
        """Tell whether a node or emitter has an inbox: it has none when it has been gone for long."""

    def trim(self, before_ms: int) -> None:
        """Let go of entries that are older than a time of the log's clock, roughly."""

    def close(self) -> None:
        """Give everything back. Idempotent; what fails is not told."""

    def cut(self) -> None:
        """Have the thread that waits in here get ``LogDown`` at once, and whatever it calls later, too."""


class Backplane(Protocol):
    """A description of where the log is: it opens nothing by itself."""

    heartbeat: float
    """Seconds between two signs of life of a node."""
    node_timeout: float
    """Seconds of the log's time without one, after which a node is gone."""
    connect_timeout: float

    def make_reader(self, node: str, inbox_only: bool = False) -> LogReader:
        """Make a reader, of the log and an inbox, or of an inbox only, which connects when it is opened.

        ``ImportError``: an extra is missing; the text names it.
        """

    def make_writer(self, timeout: float | None = None) -> LogWriter:
        """Make a writer, which connects when it is first used.

        ``timeout``: seconds that an answer may take, where that is less than the backplane allows.
        """
