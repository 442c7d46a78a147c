"""What waits in a connection's inbox."""

from typing import Optional, Tuple, Union

from .replies import OnReply

__all__ = ["OVERHEAD", "Arrived", "Mark", "weight"]

OVERHEAD = 64
"""What a waiting message counts beside its payload, so that millions of empty ones are bounded too."""


class Mark:
    """A place in the inbox: what was there before it has been handled when it comes out."""


Arrived = Tuple[Union[bytes, str, Exception, Mark], Optional[OnReply]]
"""A message in the inbox, as it came; with its ``on_reply`` where it answers a message that has one.

Or an error that another thread met, for ``on_error``, or a mark. (One with names takes seven times as long to make.)
"""


def weight(arrived: Arrived) -> int:
    """What a message counts in the inbox."""
    payload, _ = arrived
    return OVERHEAD + (len(payload) if isinstance(payload, (bytes, str)) else 0)
