import hmac

from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer


def check_key(client, key):
    return hmac.compare_digest(key.encode(), b"secret")


server = EZEZWebsocketServer(port=0, on_auth_request=check_key)


@server.handler("sum")
def add(client, a: int, b: int) -> int:
    return a + b


@server.handler("order")
def take_order(client, article: str) -> str:
    sure = client.call("sure?", [article], timeout=5)  # asks back, and waits right here
    return "served" if sure else "cancelled"


with server, EZEZWebSocketClient(server.url, auth="secret") as client:
    client.handler("sure?", lambda article: article == "tea")
    print(client.call("sum", [2, 3], timeout=5))  # 5
    print(client.call("order", ["tea"], timeout=5))  # served
