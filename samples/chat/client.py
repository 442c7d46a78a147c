"""A terminal client of the chat.

    python samples/chat/client.py [--url URL] [--nick NICK] [ROOM ...]

A line that you type is said in the room that you joined last. Ctrl-C and the end of the input leave, as /quit does.
"""

import argparse
import sys
import threading

from ezez_ws import EZEZError, EZEZWebSocketClient

HELP = "/join ROOM   /leave [ROOM]   /who [ROOM]   /nick NICK   /quit"


class Chat:
    def __init__(self, url, nick, rooms):
        self.nick = nick
        self.rooms = rooms
        self.entered = threading.Event()
        self.client = EZEZWebSocketClient(
            url,
            send_when_not_connected="raise",  # a line typed while nobody hears it is better typed again
            on_auth_ok=self.enter,
            on_disconnect=lambda code, reason: show("* disconnected"),
        )
        self.client.on("said", lambda args, reply, ids: show("[{}] {}: {}".format(*args)))
        self.client.on("notice", lambda args, reply, ids: show("[{}] * {}".format(*args)))

    def enter(self):
        """Take our name and our rooms; after a reconnect the server does not know them."""
        show(f"* connected; {HELP}")
        if self.nick:
            self.client.send("nick", [self.nick], on_reply=self.show_answer)
        for room in self.rooms:
            self.client.send("join", [room], on_reply=self.show_answer)
        self.entered.set()

    def show_answer(self, event, args, reply, ids):
        show(*args)

    def ask(self, event, *args):
        """Send, wait, show the answer; return whether it was "ok"."""
        answer = self.client.send(event, args).wait_reply(timeout=10)
        if answer.args:
            show(*answer.args)
        return answer.event == "ok"

    def talk(self, lines):
        self.entered.wait()  # connect() does not wait for on_auth_ok
        for line in lines:
            try:
                if line.strip() and not self.handle(line.strip()):
                    break
            except EZEZError as error:
                show(f"* {error}")

    def handle(self, line):
        """Do what a line says; return false for the end."""
        command, _, argument = line.partition(" ") if line.startswith("/") else ("/say", "", line)
        argument = argument.strip()
        room = argument or (self.rooms[-1] if self.rooms else "")
        if command == "/quit":
            return False
        if command == "/nick" and argument:
            if self.ask("nick", argument):
                self.nick = argument
        elif command == "/join" and argument:
            if self.ask("join", room):
                self.rooms = [*(other for other in self.rooms if other != room), room]
        elif command == "/leave" and room:
            if self.ask("leave", room):
                self.rooms = [other for other in self.rooms if other != room]
        elif command == "/who" and room:
            self.ask("who", room)
        elif command == "/say" and self.rooms:
            self.ask("say", self.rooms[-1], argument)
        else:
            show(HELP)
        return True


def show(text):
    """Print a line without what others may have put into it for the terminal to obey."""
    print("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8765")
    parser.add_argument("--nick")
    parser.add_argument("rooms", nargs="*", metavar="ROOM")
    args = parser.parse_args()
    chat = Chat(args.url, args.nick, args.rooms)
    try:
        chat.client.connect(timeout=3)
        chat.talk(sys.stdin)
    except KeyboardInterrupt:
        pass
    except EZEZError as error:
        sys.exit(str(error))
    finally:
        chat.client.close()


if __name__ == "__main__":
    main()
