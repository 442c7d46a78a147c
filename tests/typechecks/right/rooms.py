"""Rooms, several processes, and what else there is: errors, the codec, requests."""

import datetime
import signal
from collections.abc import Mapping
from typing import Any

import ezez_ws
from ezez_ws import (
    UNDEFINED,
    Audience,
    BigInt,
    Codec,
    ConnectionClosed,
    Emitter,
    EZEZError,
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    Joined,
    Member,
    Publication,
    RedisBackplane,
    RemoteClient,
    ReplyTimeout,
)


def enter(client: EZEZServerClient) -> None:
    joined: Joined = client.join("lobby", "attic", info={"name": "anna"})
    recovered: Mapping[str, bool | None] = joined.recovered
    client.to("lobby").except_("attic", client).send("hello", [client.address, len(recovered)])
    client.leave("attic")
    print(client.rooms | {"none"}, client.resumed, client.request.headers["Host"], client.request.cookies.get("a"))


def changed(change: str, member: Member) -> None:
    print(change.upper(), member.room, member.info["name"], member.local)


server = EZEZWebsocketServer(
    on_auth_request=lambda client, key: True,
    on_auth_ok=enter,
    on_member=changed,
    backplane=RedisBackplane("redis://127.0.0.1"),
    codec=Codec(
        serializers={"date": lambda value: value.isoformat() if isinstance(value, datetime.date) else None},
        deserializers={"date": datetime.date.fromisoformat},
    ),
)
everyone: Audience = server.everyone
published: Publication = everyone.send("news", ("x", UNDEFINED, BigInt(5)))
there: bool = published.wait(timeout=1)
remote: RemoteClient = server.client_at("node:1")
addresses: list[str] = [member.address for member in server.members("lobby", timeout=1.0)]
print(server.cluster.nodes[0].upper(), server.cluster.connected)
with Emitter(RedisBackplane("redis://127.0.0.1")) as emitter:
    emitter.to("lobby").send("news")
    emitter.everyone.disconnect(1001, "closing")

client = EZEZWebSocketClient("ws://127.0.0.1:8080", recover=True, on_missed=lambda rooms: print(*rooms))
try:
    answer = remote.send("question").wait_reply(5)
except ReplyTimeout as error:
    print(error)
except (ConnectionClosed, EZEZError):
    raise
values: list[Any] = Codec().decode(Codec().encode([1, "x", None]))
print(ezez_ws.__version__, client.subprotocol, client.rooms)
ended_by: int | None = server.serve_forever(signals=[signal.SIGTERM])
