"""How message bytes travel. Knows nothing of events.

From the bottom up: ``frames`` (RFC 6455, pure), ``wire`` (a socket's edge), ``outbox`` and ``flusher`` (sending),
``stream`` (a WebSocket over a wire, either role), the handshakes (pure), and the ways to get a stream: ``listener`` and
``wsgi`` (a server's) and ``dialer`` (a client's).
"""
