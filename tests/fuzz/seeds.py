"""Makes the corpus: ``python -m tests.fuzz.seeds`` writes ``corpus/``, the same each time.

The traffic is the package's own and RFC 6455's examples; the edge cases are those that the tests and the specification
name.
"""

import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ezez_ws.messages.codec import UNDEFINED, BigInt, Codec
from ezez_ws.messages.protocol import AUTH, AUTH_OK, AUTH_REJECTED
from ezez_ws.opening.server_handshake import ServerHandshake
from ezez_ws.websocket.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, TEXT, encode_close, encode_frame
from tests.fuzz.upgrade import KEY

__all__ = ["CORPUS", "corpus", "main"]

CORPUS = Path(__file__).resolve().parent / "corpus"

Inputs = dict[str, bytes]

_MASK = b"\x37\xfa\x21\x3d"  # RFC 6455, section 5.7
_AUTH = Codec().encode([AUTH, "secret", 1])
_EVENT = Codec().encode(["chat", 1, None, "hello", {"room": "a", "n": 1.5}])


def corpus() -> dict[str, Inputs]:
    """Return, for each target, its inputs by name."""
    return {"frames": _frames(), "codec": _codec(), "speedups": _speedups(), "upgrade": _upgrade()}


def main() -> None:
    for target, inputs in corpus().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if old.name not in inputs and not old.name.startswith("found-"):
                old.unlink()
        for name, data in inputs.items():
            (folder / name).write_bytes(data)


# -- frames ------------------------------------------------------------------------------------------------------------


def _from_client(*frames: bytes, options: int = 0x11, cut: int = 0) -> bytes:
    return bytes((options, cut)) + b"".join(frames)


def _from_server(*frames: bytes, options: int = 0x10, cut: int = 7) -> bytes:
    return bytes((options, cut)) + b"".join(frames)


def _masked(opcode: int, payload: bytes, fin: bool = True, rsv: int = 0) -> bytes:
    return encode_frame(opcode, payload, _MASK, fin, rsv)


def _deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def _frames() -> Inputs:
    bomb = _deflated(bytes(100_000))
    hello = _deflated(b"Hello")
    return {
        "rfc-hello": _from_server(b"\x81\x05Hello"),
        "rfc-hello-masked": _from_client(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        "rfc-fragments": _from_server(b"\x01\x03Hel\x80\x02lo"),
        "rfc-ping-pong": _from_server(b"\x89\x05Hello\x8a\x05Hello"),
        "client-session": _from_client(
            _masked(BINARY, _AUTH), _masked(BINARY, _EVENT), _masked(PING, b"1"), _masked(CLOSE, encode_close(1000, ""))
        ),
        "server-session": _from_server(
            encode_frame(BINARY, Codec().encode([AUTH_OK])),
            encode_frame(BINARY, _EVENT),
            encode_frame(PONG, b"1"),
            encode_frame(CLOSE, encode_close(1001, "restart")),
        ),
        "fragments-with-ping": _from_client(
            _masked(TEXT, "grü".encode()[:3], fin=False),
            _masked(PING, b"between"),
            _masked(CONTINUATION, "grü".encode()[3:] + b"n", fin=False),
            _masked(CONTINUATION, b""),
        ),
        "empty-messages": _from_server(b"\x81\x00\x82\x00\x89\x00\x8a\x00\x88\x00"),
        "length-125-126": _from_server(
            encode_frame(BINARY, bytes(125)), encode_frame(BINARY, bytes(126)), options=0x18
        ),
        "length-16-bit-not-shortest": _from_server(b"\x82\x7e\x00\x7d" + bytes(125)),
        "length-64-bit": _from_server(encode_frame(BINARY, bytes(1100)), b"\x82\x7f" + bytes(5) + b"\x01\x00\x00"),
        "length-top-bit": _from_server(b"\x82\x7f\x80" + bytes(7)),
        "over-the-limit": _from_server(encode_frame(BINARY, bytes(126)), options=0),
        "over-the-limit-in-fragments": _from_server(
            encode_frame(BINARY, bytes(100), fin=False), encode_frame(CONTINUATION, bytes(26)), options=0
        ),
        "continuation-of-nothing": _from_server(b"\x80\x01a"),
        "message-in-message": _from_server(b"\x01\x01a\x81\x01b"),
        "unknown-opcodes": _from_server(b"\x83\x00\x8b\x00"),
        "rsv": _from_server(b"\xc1\x00"),
        "unmasked-on-server": _from_client(b"\x81\x01a"),
        "masked-on-client": _from_server(_masked(TEXT, b"a")),
        "long-ping": _from_server(b"\x89\x7e\x00\x7e" + bytes(126)),
        "fragmented-ping": _from_server(b"\x09\x00"),
        "bad-utf8": _from_server(encode_frame(TEXT, b"a\xff")),
        "bad-utf8-surrogate": _from_client(_masked(TEXT, b"\xed\xa0\x80", fin=False), cut=5),
        "bad-utf8-cut-short": _from_client(_masked(TEXT, b"a\xf0\x9f\x98"), cut=2),
        "utf8-across-fragments": _from_server(
            encode_frame(TEXT, b"\xf0\x9f", fin=False), encode_frame(CONTINUATION, b"\x98\x80")
        ),
        "close-one-byte": _from_server(b"\x88\x01\x03"),
        "close-code-1005": _from_server(encode_frame(CLOSE, b"\x03\xed")),
        "close-bad-reason": _from_server(encode_frame(CLOSE, b"\x03\xe8\xff")),
        "close-longest": _from_server(encode_frame(CLOSE, encode_close(4999, "ä" * 61))),
        "after-close": _from_server(encode_frame(CLOSE, encode_close(1000, "")), b"\x81\x01a\xff\xff"),
        "deflate-hello": _from_server(encode_frame(TEXT, hello, rsv=RSV1), options=0x12),
        "deflate-fragments": _from_client(
            _masked(TEXT, hello[:3], fin=False, rsv=RSV1), _masked(PING, b""), _masked(CONTINUATION, hello[3:]),
            options=0x17,
        ),
        "deflate-bomb": _from_server(encode_frame(BINARY, bomb, rsv=RSV1), options=0x12),
        "deflate-bomb-that-fits": _from_server(encode_frame(BINARY, bomb, rsv=RSV1), options=0x1A),
        "deflate-broken": _from_server(encode_frame(BINARY, b"\xff\xff\xff\xff", rsv=RSV1), options=0x12),
        "deflate-last-block": _from_server(
            encode_frame(TEXT, zlib.compressobj(wbits=-15).flush() + b"\0", rsv=RSV1), options=0x12
        ),
        "deflate-empty": _from_server(encode_frame(TEXT, b"\0", rsv=RSV1), encode_frame(TEXT, b"a"), options=0x12),
    }  # fmt: skip


# -- messages ----------------------------------------------------------------------------------------------------------


def _codec() -> Inputs:
    encode = Codec().encode
    return {
        "auth": b"\0" + _AUTH,
        "auth-rejected": b"\0" + encode([AUTH_REJECTED, "Invalid auth key"]),
        "event": b"\0" + _EVENT,
        "reply": b"\0" + encode(["answer", 2, 1, b"\0\xff", None, UNDEFINED, True, False]),
        "numbers": b"\0" + encode([0, -1, 2**53 - 1, 1.5, 1e21, 1e-7, float("nan"), float("inf"), float("-inf")]),
        "bigints": b"\0" + encode([BigInt(5), 2**64, -(10**50)]),
        "nested": b"\0" + encode([[1, [2, {"a": [None, {"b": UNDEFINED}]}]], {"é": "ü", "": [], "😀": {}}]),
        "sorted-keys": b"\0" + encode([{"b": 1, "a": 2, "\uffff": 3, "😀": 4}]),
        "texts": b"\0" + encode(["", "grüße", "😀", "a\0b", ["\u2028", '"\\', "\x7f\x00"]]),
        "bytes": b"\0" + encode([b"", bytes(range(256))]),
        "custom": b'\1' + _json('"date:2020-01-01"') + _json('["date:a\\"b",{"a":"date:"}]'),
        "custom-fails": b"\1" + _json('["bad:x"]'),
        "custom-unknown": b"\0" + _json('"date:2020"'),
        "bare-json": b"\0" + _json("5") + _json("[true,null,1.0e5,-0,12345678901234567890]") + _json("1e400"),
        "bare-nan": b"\0" + _json("[NaN]"),
        "bare-string": b"\0" + _json('["x"]'),
        "blanks": b"\0" + _json(' [ "n:1" ,\t{"a" : "l:"}\r\n] '),
        "escapes": b"\0" + _json('["s:\\u0041\\ud83d\\ude00\\/\\b"]'),
        "lone-surrogates": b"\0" + _json('["s:\\ud800","s:\\udc00\\ud800","s:\\\\ud800",{"\\udfff":"l:"}]'),
        "number-grammar": b"\0" + _json('["n:-0","n:00","n:1.50","n:1e+5","n:9007199254740993","n:-1e-400"]'),
        "number-bad": b"\0" + _json('"n:1_0"'),
        "number-other-digits": b"\0" + _json('"n:٣"'),
        "bigint-zeros": b"\0" + _json('"i:-000"') + _json('"i:007"'),
        "bigint-too-long": b"\0" + _json(f'"i:{"1" * 10_001}"'),
        "booleans": b"\0" + _json('["b:","b:1","b:0","b:x","l:x"]'),
        "duplicate-keys": b"\0" + _json('{"a":"n:1","a":"n:2"}'),
        "deepest": b"\2" + _json("[[[]]]"),
        "too-deep": b"\2" + _json("[[[[]]]]"),
        "brackets-in-strings": b"\2" + _json('["s:[[[[{{{{","s:\\"[[[[\\\\"]'),
        "dense": b"\xf0" + _json("[" + ",".join(["[[]]", '{"":{}}'] * 120) + "]"),
        "large": b"\xf3" + encode([["text", {"key": [1, 2.5]}] * 20]),
        "last-field-open": b"\0" + _EVENT[:-1],
        "length-past-the-end": b"\x009f\0abc\0",
        "length-not-digits": b"\0+3f\0abc\0",
        "length-leading-zeros": b"\x000000000003f\0abc\0",
        "length-huge": b"\x009999999999f\0",
        "no-mark": b"\x003\0abc\0",
        "bad-utf8": b"\x002f\0\xc3(\0",
        "reply-to-zero": b"\0" + encode(["a", 1, 0]),
        "reply-to-in-blanks": b"\0" + encode(["a", 1]) + _json(" 7" + " " * 80),
        "reply-to-bigint": b"\0" + encode(["a", 1, BigInt(7)]),
        "reserved-name": b"\0" + encode(["ezez-ws::other", 1, None]),
        "version-of-all-kinds": b"\0" + encode([AUTH, "k", [None, {"a": 1}, BigInt(1)]]),
    }  # fmt: skip


def _json(text: str) -> bytes:
    payload = text.encode()
    return b"%dj\0%b\0" % (len(payload), payload)


# -- the C extension ---------------------------------------------------------------------------------------------------


_PUBLICATIONS: dict[str, list[Any]] = {
    "event": [1, "0af9:b.c_-", 7, "event", [["a", "b"], ["c"], ["n:1"]], "hi", b"\0x"],
    "again": [1, "p", 1, "event", [["*"], [], []], "", b"", 1],
    "later": [1, "p", 1, "event", [["a"], [], [], []], "hi", b"", 1, "more"],
    "other": [1, "p", 1, "do", [["a"], [], []], "join", ["b"]],
}


def _speedups() -> Inputs:
    """The messages and the frames of the targets above, and bytes that values are made of."""
    inputs = {f"values-{seed}": b"\2" + random.Random(seed).randbytes(240) for seed in range(12)}
    inputs["values-all-bytes"] = b"\2" + bytes(range(256))
    for name, data in _codec().items():
        options = data[0] & 0xF0 | (4 if data[0] & 3 == 2 else 0)  # the codec that takes three containers, and sizes
        inputs[f"message-{name}"] = bytes((options,)) + data[1:]
    for name, fields in _PUBLICATIONS.items():
        inputs[f"publication-{name}"] = b"\0" + Codec().encode(fields)
    for name, data in _frames().items():
        inputs[f"frames-{name}"] = bytes((0x1F if data[0] & 1 else 0x1B,)) + data[2:]
    return inputs


# -- the upgrade -------------------------------------------------------------------------------------------------------

_GOOD = (
    "Host: example.com",
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
)


def _request(*headers: str, line: str = "GET /chat?a=b HTTP/1.1", good: Sequence[str] = _GOOD) -> bytes:
    return "\r\n".join([line, *good, *headers, "", ""]).encode("latin-1")


def _answer(*headers: str) -> bytes:
    handshake = ServerHandshake()
    handshake.feed(_request())
    pairs: list[list[str]] = [header.split(": ", 1) for header in headers]
    return handshake.accept([(name, value) for name, value in pairs])


def _server(data: bytes, options: int = 0, cut: int = 0) -> bytes:
    return bytes((options, cut)) + data


def _client(data: bytes, options: int = 3, cut: int = 9) -> bytes:
    return bytes((options, cut)) + data


def _user(*lines: str) -> bytes:
    return b"\2\0" + "\n".join(lines).encode()


def _upgrade() -> Inputs:
    deflate = "Sec-WebSocket-Extensions: permessage-deflate"
    plain = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n"
    return {
        "request": _server(_request()),
        "request-with-everything": _server(
            _request("Origin: https://example.com", "Sec-WebSocket-Protocol: c, b", 'Cookie: a=b; c="d"; e', deflate),
            options=0x1C,
        ),
        "request-pipelined": _server(_request() + b"\x82\x80abcd", cut=11),
        "request-blank-line-first": _server(b"\r\n" + _request()),
        "request-absolute": _server(_request(line="GET http://example.com:80 HTTP/1.1")),
        "request-asterisk": _server(_request(line="OPTIONS * HTTP/1.1")),
        "request-fragment": _server(_request(line="GET /a#b HTTP/1.1")),
        "request-1.0": _server(_request(line="GET / HTTP/1.0")),
        "request-post": _server(_request("Content-Length: 0", line="POST /chat HTTP/1.1"), options=4),
        "request-other-path": _server(_request(line="GET /%63hat HTTP/1.1"), options=4),
        "request-other-origin": _server(_request("Origin: null"), options=0x10),
        "request-no-host": _server(_request(good=_GOOD[1:])),
        "request-two-hosts": _server(_request("Host: b")),
        "request-odd-hosts": _server(_request("host: [::1%25eth0]:80", good=_GOOD[1:])),
        "request-two-keys": _server(_request(f"Sec-WebSocket-Key: {KEY}")),
        "request-version-8": _server(_request("Sec-WebSocket-Version: 8", good=_GOOD[:4])),
        "request-length-and-chunked": _server(_request("Content-Length: 5", "Transfer-Encoding: chunked")),
        "request-two-lengths": _server(_request("Content-Length: 0", "Content-Length: 00")),
        "request-folded": _server(_request("X-A: a\r\n b")),
        "request-space-before-colon": _server(_request("X-A : a")),
        "request-bare-lf": _server(_request().replace(b"\r\n", b"\n")),
        "request-bare-cr": _server(_request("X-A: a\rX-B: b")),
        "request-nul": _server(_request("X-A: a\0")),
        "request-latin-1": _server(_request("X-A: grün", "Cookie: ä=ö")),
        "request-100-headers": _server(_request(*(f"a{n}:" for n in range(95)))),
        "request-101-headers": _server(_request(*(f"a{n}:" for n in range(96)))),
        "request-too-large": _server(_request("X-A: " + "a" * 4000, "X-B: " + "b" * 12300), cut=30),
        "request-protocol-twice": _server(_request("Sec-WebSocket-Protocol: a, a")),
        "request-deflate-offers": _server(
            _request(
                f"{deflate}; server_max_window_bits=7, permessage-deflate; client_max_window_bits; "
                'server_max_window_bits="10"; server_no_context_takeover, x'
            )
        ),
        "request-tls-hello": _server(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        "answer": _client(_answer()),
        "answer-with-everything": _client(
            _answer("Sec-WebSocket-Protocol: b", f"{deflate}; server_max_window_bits=9") + b"\x81\x00", options=0x0F
        ),
        "answer-after-interim": _client(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nA: b\r\n\r\n" + _answer()),
        "answer-endless-interim": _client(b"HTTP/1.1 100 Continue\r\n\r\n" * 12),
        "answer-404": _client(plain.encode()),
        "answer-redirect": _client(b"HTTP/1.1 302\r\nLocation: http://example.com/\r\n\r\n"),
        "answer-wrong-accept": _client(_answer().replace(b"Accept: s", b"Accept: t")),
        "answer-uninvited-extension": _client(_answer(deflate)),
        "answer-uninvited-protocol": _client(_answer("Sec-WebSocket-Protocol: c"), options=0x0B),
        "answer-2.0": _client(b"HTTP/2 101 Switching Protocols\r\n\r\n"),
        "user": _user("ws://example.com"),
        "user-with-everything": _user("wss://example.com:8443/a%20b?c=d e", "a,b", "Authorization: Bearer x", "X: ä"),
        "user-ipv6": _user("ws://[fe80::1%25eth0]:80/", ""),
        "user-idna": _user("ws://bücher.example/grün?ö=ß", ""),
        "user-path-of-slashes": _user("ws://a//b/../c?#".replace("#", "")),
        "user-bad-port": _user("ws://a:65536"),
        "user-header-injection": _user("ws://a/", "", "X-A: a\rHost: b"),
        "user-reserved-header": _user("ws://a/", "", "Sec-WebSocket-Key: x"),
        "user-many-headers": _user("ws://a/", "", *(f"a{n}: b" for n in range(97))),
    }


if __name__ == "__main__":
    main()
