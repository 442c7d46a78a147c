"""Bytes: sockets, TLS, borrowed sockets, and who waits for them."""
