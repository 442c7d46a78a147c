"""Rooms that are none, and their members."""

from ezez_ws import Codec, Emitter, EZEZServerClient, EZEZWebsocketServer, Member


def enter(client: EZEZServerClient) -> None:
    client.join(5)  # error
    print(client.join("lobby").left)  # error
    client.to("lobby").send()  # error
    client.rooms.add("attic")  # error
    client.alive = False  # error
    client.disconnect("1000")  # error


def changed(member: Member, change: str) -> None: ...


EZEZWebsocketServer(on_auth_request=lambda client, key: True, on_member=changed)  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: True, backplane="redis://127.0.0.1")  # error
server = EZEZWebsocketServer(on_auth_request=lambda client, key: True)
server.everyone.send("x").wait("1")  # error
server.members(5)  # error
server.clients.append("client")  # error
server.port = 5  # error
Emitter("redis://127.0.0.1")  # error
Codec().encode(5)  # error
Codec(serializers={"x": "y"})  # error
