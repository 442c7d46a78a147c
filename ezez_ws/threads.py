"""Starting threads."""

import threading

__all__ = ["start_thread"]


def start_thread(thread: threading.Thread) -> None:
    """Start a thread; a signal handler's exception comes out as itself.

    ``Thread.start`` waits on an ``Event``, whose lock such an exception can leave in disorder: then it comes out as the
    context of a ``RuntimeError``.
    """
    try:
        thread.start()
    except RuntimeError as error:
        cause = error.__context__
        if cause is not None and not isinstance(cause, Exception):
            raise cause from None
        raise
