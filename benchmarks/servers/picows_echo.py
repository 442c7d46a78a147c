"""picows' own server, a bare echo: so cheap that the load generator, which is picows too, is what limits."""

import asyncio
import threading

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

__all__ = ["start"]

FANOUT = b"fanout "

_connected: set[WSTransport] = set()


class _Echo(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        _connected.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        _connected.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()
        elif payload.startswith(FANOUT):
            text = b"x" * int(payload[len(FANOUT) :])
            for each in _connected:
                each.send(WSMsgType.BINARY, text)
        else:
            transport.send(WSMsgType.BINARY, payload)


def start() -> str:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(ws_create_server(lambda request: _Echo(), "127.0.0.1", 0, backlog=1024))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
