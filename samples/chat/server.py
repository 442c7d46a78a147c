"""A chat server with several rooms; who is in which is kept in the clients' contexts.

    python samples/chat/server.py [--host HOST] [--port PORT]

Guests come with client.py. The lists in the contexts are replaced, never changed, so everybody may look at them.
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
        for room in client.context["rooms"]:
            tell(room, "notice", [room, f"{client.context['nick']} has gone"], but=client)

    server = EZEZWebsocketServer(
        host=host,
        port=port,
        default_context={"nick": "", "rooms": []},
        on_auth_request=lambda client, key: True,  # whoever comes is welcome
        on_auth_ok=greet,
        on_disconnect=say_goodbye,
    )

    def members(room):
        return [client for client in server.clients if room in client.context["rooms"]]

    def tell(room, event, args, but):
        server.broadcast(event, args, where=lambda client: client is not but and room in client.context["rooms"])

    @server.on("nick")
    def nick(client, args, reply, ids):
        with taking_a_nick:
            taken = any(args[0] == other.context["nick"] for other in server.clients if other is not client)
            if not taken:
                before, client.context["nick"] = client.context["nick"], args[0]
        if taken:
            reply("error", [f"{args[0]} is somebody else"])
            return
        for room in client.context["rooms"]:
            tell(room, "notice", [room, f"{before} is now {args[0]}"], but=client)
        reply("ok", [f"you are {args[0]}"])

    @server.on("join")
    def join(client, args, reply, ids):
        (room,) = args
        with client.context as context:
            context["rooms"] = [*(other for other in context["rooms"] if other != room), room]
        tell(room, "notice", [room, f"{client.context['nick']} is here"], but=client)
        reply("ok", [f"you are in {room}"])

    @server.on("leave")
    def leave(client, args, reply, ids):
        (room,) = args
        with client.context as context:
            here = room in context["rooms"]
            context["rooms"] = [other for other in context["rooms"] if other != room]
        if here:
            tell(room, "notice", [room, f"{client.context['nick']} has left"], but=client)
        reply("ok", [f"you have left {room}"])

    @server.on("who")
    def who(client, args, reply, ids):
        (room,) = args
        reply("ok", [", ".join(sorted(member.context["nick"] for member in members(room))) or "nobody"])

    @server.on("say")
    def say(client, args, reply, ids):
        room, text = args
        if room not in client.context["rooms"]:
            reply("error", [f"you are not in {room}"])
            return
        tell(room, "said", [room, client.context["nick"], text], but=client)
        reply("ok")

    return server


if __name__ == "__main__":
    main()
