"""A thread a connection that only does recv, slice, sendall of as many bytes: what threads can do."""

import socket
import threading

__all__ = ["start"]


def start() -> str:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_serve, args=(sock,), daemon=True).start()


def _serve(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock:
        while data := sock.recv(65536):
            sock.sendall(data[:])
