"""A chat server with several rooms; each guest is listed in its rooms with the nick that it has.

    python samples/chat/server.py [--host HOST] [--port PORT]

Guests come with client.py.
"""

import argparse
import threading

from ezez_ws import EZEZWebsocketServer

taking_a_nick = threading.Lock()  # nobody else may take it between looking and taking


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765, help="0 picks a free one (default: 8765)")
    args = parser.parse_args()
    server = make_server(args.host, args.port)
    server.start()
    print(f"chat on {server.url}, Ctrl-C ends it", flush=True)
    server.serve_forever()


def make_server(host, port):
    def greet(client):
        client.context["nick"] = f"guest-{client.connection_id}"

    def say_goodbye(client, code, reason):
        for room in client.rooms:
            client.to(room).send("notice", [room, f"{client.context['nick']} has gone"])

    server = EZEZWebsocketServer(
        host=host,
        port=port,
        default_context={"nick": ""},
        on_auth_request=lambda client, key: True,  # whoever comes is welcome
        on_auth_ok=greet,
        on_disconnect=say_goodbye,
    )

    def answers(event):
        """Answer an event with what a function returns, or with the ValueError that it raises."""

        def register(function):
            @server.on(event)
            def listener(client, args, reply, ids):
                try:
                    answer = function(client, *map(str, args))
                except ValueError as error:  # join and to say what is wrong with the name of a room
                    reply("error", [str(error)])
                else:
                    reply("ok", answer)

        return register

    @answers("nick")
    def nick(client, name):
        with taking_a_nick:
            if any(name == other.context["nick"] for other in server.clients if other is not client):
                raise ValueError(f"{name} is somebody else")
            before, client.context["nick"] = client.context["nick"], name
        client.join(*client.rooms, info=name)
        for room in client.rooms:
            client.to(room).send("notice", [room, f"{before} is now {name}"])
        return [f"you are {name}"]

    @answers("join")
    def join(client, room):
        client.join(room, info=client.context["nick"])
        client.to(room).send("notice", [room, f"{client.context['nick']} is here"])
        return [f"you are in {room}"]

    @answers("leave")
    def leave(client, room):
        if room in client.rooms:
            client.leave(room)
            client.to(room).send("notice", [room, f"{client.context['nick']} has left"])
        return [f"you have left {room}"]

    @answers("who")
    def who(client, room):
        return [", ".join(sorted(member.info for member in server.members(room))) or "nobody"]

    @answers("say")
    def say(client, room, text):
        if room not in client.rooms:
            raise ValueError(f"you are not in {room}")
        client.to(room).send("said", [room, client.context["nick"], text])
        return []

    return server


if __name__ == "__main__":
    main()
