"""A tour of ezez_ws: a server and its clients, each a process of its own.

    python samples/demo.py                the tour
    python samples/demo.py --key KEY      the same, with this key in the clients' hands: with a wrong one it fails
    python samples/demo.py --monitor      the tour, and then a busy server to look at, until Ctrl-C

The tour starts this file again for each process: ``demo.py server KEY`` and ``demo.py client NAME URL KEY``. They do
one thing at a time, as the tour tells them, and say what they do; the tour checks it and exits with 1 where a step
did not happen. The busy server is ``demo.py house``, and its guests are ``demo.py guests URL``.
"""

import argparse
import hmac
import random
import sys
import threading
import time

from _stage import Stage, StepFailed, act, say

from ezez_ws import AuthRejected, EZEZError, EZEZWebSocketClient, EZEZWebsocketServer, Monitor

KEY = "open sesame"


def run_server(key):
    """Serve a tea room: who comes in has the key, has a name, and may order."""

    def check_key(client, offered):
        is_right = hmac.compare_digest(offered.encode(), key.encode())
        say("server", f"on_auth_request(client {client.connection_id}, {offered!r}) -> {is_right}")
        return is_right

    server = EZEZWebsocketServer(
        port=0,
        default_context={"name": "", "orders": []},
        on_auth_request=check_key,
        on_auth_ok=lambda client: say("server", f"on_auth_ok(client {client.connection_id})"),
        on_auth_rejected=lambda client, why: say("server", f"on_auth_rejected(client {client.connection_id}, {why!r})"),
        on_disconnect=lambda client, code, why: say(
            "server", f"on_disconnect(client {client.connection_id}, {code}, {why!r})"
        ),
    )

    @server.handler("sum")
    def add(client, *numbers):
        say("server", f'handler of "sum" gets {numbers}: return {sum(numbers)}')
        return sum(numbers)

    @server.handler("order")
    def take_order(client, what):
        say("server", f'handler of "order" gets ({what!r}); before it answers it asks back, and waits:')
        say("server", 'client.call("sugar?", timeout=5)')
        sugar = client.call("sugar?", timeout=5)
        say("server", f"the handler goes on with {sugar!r}")
        with client.context as context:
            context["orders"].append(what)
        return f"{what}, {sugar}"

    def ask_names():
        for client in server.clients:
            say("server", f'client {client.connection_id}: call("question", ["Your name?"], timeout=5)')
            name = client.call("question", ["Your name?"], timeout=5)
            say("server", f"-> {name!r}, so client.context['name'] = {name!r}")
            client.context["name"] = name

    def show_contexts():
        for client in server.clients:
            say("server", f"client {client.connection_id}.context -> {client.context.snapshot()}")

    def broadcast():
        say("server", 'server.broadcast("news", ["Fresh scones!"])')
        count = server.broadcast("news", ["Fresh scones!"])
        say("server", f"-> sent to {count}")
        say("server", 'server.broadcast("news", ["Refills are free."], where=<has ordered>)')
        count = server.broadcast("news", ["Refills are free."], where=lambda client: client.context["orders"])
        say("server", f"-> sent to {count}")

    def disconnect(name):
        for client in server.clients:
            if client.context["name"] == name:
                say("server", f'client {client.connection_id}.disconnect(4000, "closing time")')
                client.disconnect(4000, "closing time")

    with server:
        say("server", f"server.start() -> listening on {server.url}")
        act({f.__name__: f for f in (ask_names, show_contexts, broadcast, disconnect)})
    say("server", "server.close() -> closed")


def run_client(name, url, key):
    """Be a guest, who answers what it is asked."""

    def gone(code, reason):
        say(name, f"on_disconnect({code}, {reason!r})")

    client = EZEZWebSocketClient(url, auth=key, auto_reconnect=False, on_disconnect=gone)

    @client.handler("question")
    def tell_name(question):
        say(name, f'handler of "question" gets ({question!r}): return {name!r}')
        return name

    @client.handler("sugar?")
    def want_sugar():
        say(name, 'handler of "sugar?": return "two lumps"')
        return "two lumps"

    @client.on("news")
    def read_news(args, reply, ids):
        say(name, f'listener of "news" gets {args}')

    def ask(event, *args):
        values = [int(arg) if arg.isdigit() else arg for arg in args]
        say(name, f'client.call("{event}", {values}, timeout=5)')
        say(name, f"-> {client.call(event, values, timeout=5)!r}")

    def wait_closed():
        client.wait_closed(timeout=5)
        return False

    def leave():
        say(name, "client.close()")
        return False

    say(name, f"EZEZWebSocketClient(url, auth={key!r}).connect(timeout=5)")
    try:
        client.connect(timeout=5)
    except AuthRejected as error:
        say(name, f"-> AuthRejected({error.reason!r})")
        sys.exit(1)
    say(name, "-> connected and authenticated")
    try:
        act({f.__name__: f for f in (ask, wait_closed, leave)})
    finally:
        client.close()


def tour(stage, key):
    stage.step("A server that wants a key.")
    stage.start("server", "server", KEY)
    (url,) = stage.expect(r"listening on (\S+)")

    stage.step("Two clients have it.")
    for number, name in enumerate(("anna", "bert")):
        stage.start(name, "client", name, url, key)
        stage.expect(rf"on_auth_ok\(client {number}\)", rf"{name} +-> connected")

    stage.step("One does not, and is refused.")
    stage.start("mallory", "client", "mallory", url, "12345", ends_with=1)
    stage.expect(r"on_auth_rejected\(client 2", r"mallory +-> AuthRejected", r"on_disconnect\(client 2, 1008")
    stage.expect_exit("mallory")

    stage.step("A client calls the server, whose handler answers by what it returns.")
    stage.tell("anna", "ask", "sum", "2", "3")
    stage.expect(r"anna +-> 5")

    stage.step("The server calls its clients, and keeps the answers in their contexts.")
    stage.tell("server", "ask_names")
    stage.expect(r"server +-> 'anna'", r"server +-> 'bert'")

    stage.step("A handler asks back and waits, on the connection that it serves.")
    stage.tell("bert", "ask", "order", "tea")
    stage.expect(r"bert +-> 'tea, two lumps'")

    stage.step("What the server now knows of each client.")
    stage.tell("server", "show_contexts")
    stage.expect(r"'name': 'anna', 'orders': \[\]", r"'name': 'bert', 'orders': \['tea'\]")

    stage.step("A broadcast to everybody, and one to some.")
    stage.tell("server", "broadcast")
    stage.expect("-> sent to 2", "-> sent to 1", "anna .*scones", "bert .*scones", "bert .*Refills")

    stage.step("The server sends one away, the other leaves by itself.")
    stage.tell("bert", "wait_closed")
    stage.tell("server", "disconnect", "bert")
    stage.expect(r"bert +on_disconnect\(4000, 'closing time'\)", r"server +on_disconnect\(client 1, 4000")
    stage.tell("anna", "leave")
    stage.expect(r"anna +on_disconnect\(1000", r"server +on_disconnect\(client 0, 1000")

    stage.step("The server closes.")
    stage.finish("server")
    stage.expect(r"server\.close\(\) -> closed")
    for name in ("anna", "bert", "server"):
        stage.expect_exit(name)


def run_house():
    """Serve a busy tea room, with a page to look at it. There is one kettle, and a pot takes long."""
    server = EZEZWebsocketServer(
        port=0,
        default_context={"name": "", "orders": []},
        on_auth_request=lambda client, key: hmac.compare_digest(key.encode(), KEY.encode()),
        on_error=lambda client, error: None,  # the page shows it
        ping_interval=2,
    )
    monitor = Monitor(server)
    server.mount("/monitor", monitor)
    kettle = threading.Lock()

    @server.on("hello")
    def welcome(client, args, reply, ids):
        client.context["name"], room = args
        client.join("everybody", room)

    @server.on("chat")
    def pass_on(client, args, reply, ids):
        client.to("everybody").send("chat", args)

    @server.handler("order")
    def take_order(client, what, minutes):
        with kettle:
            boil(minutes)
        with client.context as context:
            context["orders"].append(what)
        return what

    def boil(minutes):
        time.sleep(minutes)

    @server.on("cancel")
    def cancel_order(client, args, reply, ids):
        client.context["orders"].remove(args[0])

    with server:
        say("house", f"monitor at {monitor.url} for {server.url}")
        act({})


def run_guests(url):
    """Be a dozen guests, who talk, and order tea; one of them pots."""
    left = threading.Event()

    def be_guest(name, client):
        client.send("hello", [name, random.choice(["garden", "parlour", "bar"])])
        turn = 0
        while not left.wait(random.uniform(0.3, 3)):
            turn += 1
            if name == "Hugo" and turn % 12 == 4:
                client.call("order", ["a pot of Darjeeling", 15], timeout=60)
            elif turn % 5 == 2:
                client.call("order", ["a cup of tea", 0.05], timeout=60)
            elif name == "Inès" and turn % 9 == 8:
                client.send("cancel", ["coffee"])  # which she has never ordered
            else:
                client.send("chat", [name, "What a day!"])

    def come_and_go(name):
        with EZEZWebSocketClient(url, auth=KEY, on_disconnect=lambda code, why: left.set()) as client:
            try:
                be_guest(name, client)
            except EZEZError:
                pass  # the house has closed

    names = ["Anna", "Bert", "Cleo", "Dmitri", "Esra", "Finn", "Grażyna", "Hugo", "Inès", "Jun", "Kofi", "Lale"]
    threads = [threading.Thread(target=come_and_go, args=[name], daemon=True) for name in names]
    for thread in threads:
        thread.start()
    act({})
    left.set()


def look(stage):
    """Leave a busy server running, say where to look at it, and wait for Ctrl-C."""
    stage.start("house", "house")
    page, url = stage.expect(r"monitor at (\S+) for (\S+)")
    stage.start("guests", "guests", url)
    print(f"\nIt runs until Ctrl-C. Look at {page}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", default=KEY, help="what the clients authenticate with (default: the right one)")
    parser.add_argument("--monitor", action="store_true", help="leave a busy server running, and say where to look")
    args = parser.parse_args()
    stage = Stage(__file__)
    try:
        tour(stage, args.key)
        print("\nThat was the tour: every step happened.")
        if args.monitor:
            look(stage)
        else:
            print("To look at a server while it runs: make demo MONITOR=1")
    except StepFailed as error:
        print(f"\nThis step did not happen: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    finally:
        stage.close()
    return 0


if __name__ == "__main__":
    roles = {"server": run_server, "client": run_client, "house": run_house, "guests": run_guests}
    if sys.argv[1:2] and sys.argv[1] in roles:
        try:
            roles[sys.argv[1]](*sys.argv[2:])
        except EZEZError as error:
            sys.exit(f"{type(error).__name__}: {error}")
    else:
        sys.exit(main())
