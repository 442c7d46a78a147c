"""What can be in an inbox."""

from .replies import RoutedReply

__all__ = ["Arrived", "Mark"]


class Mark:
    """A place in the inbox: what was there before it has been handled when it comes out."""


Arrived = bytes | str | RoutedReply | Exception | Mark
"""A message as it came or its ``Start``, a reply that its waiter has, an error for ``on_error``, or a mark."""
