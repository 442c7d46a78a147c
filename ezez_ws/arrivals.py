"""What waits in a connection's inbox."""

from typing import NamedTuple, Optional, Union

from .replies import OnReply

__all__ = ["OVERHEAD", "Arrived", "Mark", "weight"]

OVERHEAD = 64
"""What a waiting message counts beside its payload, so that millions of empty ones are bounded too."""


class Mark:
    """A place in the inbox: what was there before it has been handled when it comes out."""


class Arrived(NamedTuple):
    """A message in the inbox, as it came; with its ``on_reply`` where it answers a message that has one.

    Or an error that another thread met, for ``on_error``, or a mark.
    """

    payload: Union[bytes, str, Exception, Mark]
    on_reply: Optional[OnReply]


def weight(arrived: Arrived) -> int:
    """What a message counts in the inbox."""
    return OVERHEAD + (len(arrived.payload) if isinstance(arrived.payload, (bytes, str)) else 0)
