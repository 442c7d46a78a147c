"""Options of a wrong type or name."""

from ezez_ws import EZEZWebSocketClient, EZEZWebSocketServer, HandshakeRequest


def verify(request: HandshakeRequest) -> str:
    return "yes"


EZEZWebSocketServer(on_auth_request=lambda client, key: True, port="8080")  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, host=None)  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, prot=8080)  # error
EZEZWebSocketServer(8080, on_auth_request=lambda client, key: True)  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, messages_before_auth="keep")  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, queue_overflow="drop")  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, send_after_disconnect=True)  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, compression="gzip")  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, codec="json")  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, ssl=True)  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, default_context=[])  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, allowed_origins=5)  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, allowed_origins=lambda origin: True)  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, verify_request=verify)  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, max_connections_per_address=verify)  # error
EZEZWebSocketServer(on_auth_request=lambda client, key: True, ping_interval="20")  # error
EZEZWebSocketClient()  # error
EZEZWebSocketClient(8080)  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", "secret")  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", auth=5)  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", auth=lambda client: "key")  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", headers=["X-Token"])  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", send_when_not_connected="drop")  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", unknown_data="emit_try_json")  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", on_auth_request=lambda client, key: True)  # error
