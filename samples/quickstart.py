import hmac

from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer


def check_key(client, key):
    return hmac.compare_digest(key.encode(), b"secret")


server = EZEZWebsocketServer(port=0, on_auth_request=check_key)


@server.on("sum")
def add(client, args, reply, ids):
    reply("total", [sum(args)])


@server.on("order")
def take_order(client, args, reply, ids):
    answer = client.send("sure?", args).wait_reply(timeout=5)  # asks back, and waits right here
    reply("served" if answer.event == "yes" else "cancelled", args)


with server, EZEZWebSocketClient(server.url, auth="secret") as client:
    client.on("sure?", lambda args, reply, ids: reply("yes"))
    total = client.send("sum", [2, 3]).wait_reply(timeout=5)
    print(total.event, total.args)  # total [5]
    order = client.send("order", ["tea"]).wait_reply(timeout=5)
    print(order.event, order.args)  # served ['tea']
