"""A thread a connection that only does recv, slice, sendall of as many bytes: what threads can do.

It shakes hands, so that the same load generator can drive it as all others; then it looks at the first frame's size,
and at nothing else.
"""

import base64
import hashlib
import re
import socket
import threading

__all__ = ["shake_hands", "start"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_MASK = 4  # bytes that a frame from a client has more than its answer
_CLOSE = 0x88


def start() -> str:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    return f"ws://127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_serve, args=(sock,), daemon=True).start()


def _serve(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock:
        shake_hands(sock)
        data = sock.recv(65536)
        if not data or data[0] == _CLOSE:
            return
        size = 2 + _MASK + (data[1] & 127)
        answers = (data[:1] + bytes([data[1] & 127]) + data[2 + _MASK : size]) * (65536 // size + 1)
        arrived = 0
        while data and data[0] != _CLOSE:
            frames, arrived = divmod(arrived + len(data), size)
            sock.sendall(answers[: frames * (size - _MASK)])
            data = sock.recv(65536)


def shake_hands(sock: socket.socket) -> None:
    """Answer the request of a WebSocket, whatever it asks for."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = sock.recv(4096)
        if not data:
            return
        head += data
    found = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
    assert found is not None
    accept = base64.b64encode(hashlib.sha1(found[1] + _GUID).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    sock.sendall(b"\r\n".join([*lines, b"Sec-WebSocket-Accept: " + accept, b"", b""]))
