"""An event for many connections."""

from typing import Any, Optional

from .codec import Codec
from .options import check_args
from .protocol import check_event_name
from .transport.frames import Prepared

__all__ = ["Broadcast"]


class Broadcast:
    """An event for many, encoded once. Of its messages only the id differs, and often not even that."""

    __slots__ = ("_body", "_codec", "_event", "_id", "_message")

    def __init__(self, codec: Codec, event: str, args: Any) -> None:
        self._codec = codec
        self._event = check_event_name(event)
        self._body = codec.encode(check_args(args))
        self._id = 0
        self._message: Optional[Prepared] = None

    def message(self, event_id: int) -> Prepared:
        """Return the message with this id. The broadcasting thread's."""
        if self._message is None or event_id != self._id:
            self._message = Prepared(self._codec.encode_event(self._event, event_id, None, self._body))
            self._id = event_id
        return self._message
