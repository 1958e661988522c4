"""Another implementation of frames, from docs/protocol.md alone: it makes frames.txt.

    python3 tests/wire/frames.py > tests/wire/frames.txt
    python3 tests/wire/frames.py --check    # is that what it makes?

Each line is `name: what = bytes`. What is `-` where it has no words.
"""

import os
import sys

TYPES = {"raw": 1, "json": 2, "bytes": 3}
SIZES = [0, 1, 126, 127, 128, 129, 172, 300, 383, 384, 16510, 16511, 16512, 16513, 65535, 65536,
         2113662, 2113663, 2113664, 2113665, 2**24 - 1, 2**24, 2**32 - 1, 2**32, 2**40, 2**48,
         2**56 - 1, 2**56, 2**63 - 1, 2**63, 2**64 - 1]


def length(n):
    """A number in the fewest bytes."""
    if n < 128:
        return bytes([n])
    if n < 128 + 2**14:
        n -= 128
        return bytes([0b10000000 | n >> 8, n & 255])
    if n < 128 + 2**14 + 2**21:
        n -= 128 + 2**14
        return bytes([0b11000000 | n >> 16, n >> 8 & 255, n & 255])
    digits = n.to_bytes(8, "big").lstrip(b"\0")
    return bytes([0b11100000 | len(digits) - 1]) + digits


def frame(kind, body):
    return bytes([kind]) + length(len(body)) + body


def message(payload):
    return length(len(payload)) + payload


def header(text):
    assert len(text) <= 128
    return text.encode().ljust(128, b"|")


def stream(messages, named):
    """One direction of a stream, with its goodbye."""
    wire, headless = b"", named
    for payload in messages:
        if not headless:
            wire += message(payload)
            headless = True
        elif payload[0] == 255:
            wire += b"\xff" + message(payload)
        else:
            wire += payload
    return wire + (b"\xff" if headless else b"") + frame(0xF4, b"")


def vectors():
    for n in SIZES:
        yield "length", n, length(n)
    # Of which the second reading must find the end, and nothing else.
    for bad in ["e000", "e07f", "e1407f", "e2000000", "e220407f", "e300ffffff", "e70080000000000000",
                "e8", "ef", "f0", "ff"]:
        yield "no length", "-", bytes.fromhex(bad)
    for name, kind in TYPES.items():
        for payload in [b"\x2a", b"x" * 126, b"x" * 127]:
            yield "of type", f"{name} {payload.hex()}", frame(0xF0, bytes([kind]) + payload)
    yield "goodbye", "-", frame(0xF4, b"")
    for n in SIZES:
        yield "goodbye", n, frame(0xF4, length(n))
        yield "taken", n, frame(0xF5, length(n))
    for words in ["", "no", "missing field `b`", "ä" * 128]:
        yield "refused", words.encode().hex() or "-", frame(0xF6, words.encode())
    for kind in range(0xF8, 0xFC):
        for size in [0, 1, 127, 128, 1024]:
            yield "skipped", size, frame(kind, bytes([kind]) * size)
    for n in [0, 500, 2500, 16511, 2**64 - 1]:
        yield "wanted", n, frame(0xF8, length(n))
    yield "beat", "-", frame(0xF9, b"")
    for name, kind in [("request", 0xF1), ("reply", 0xF2)]:
        for n in [0, 7, 127, 128, 300, 16511, 16512, 2113663, 2113664, 2**24, 2**32 - 1]:
            for of, byte in [("-", 0), *TYPES.items()]:
                yield name, f"{n} {of} 2a2a", frame(kind, bytes([byte]) + length(n) + b"**")
    for n in [0, 300, 2**32 - 1]:
        for code, words in [(1, ""), (2, ""), (5, "no \u00e4"), (6, "?"), (255, "x" * 256)]:
            what = f"{n} {code} {words.encode().hex() or '-'}"
            yield "failed", what, frame(0xF3, length(n) + bytes([code]) + words.encode())
    # No body; no id; a type, or an id, that there is not; an id cut; not in its shortest form.
    for kind in [0xF1, 0xF2]:
        for body in ["", "00", "0407", "00e40100000000", "0080", "00c001", "00e3202020", "00e8"]:
            yield "no request", "-", frame(kind, bytes.fromhex(body))
    # Too short; no code; no UTF-8; an id that there is not; words that are too many.
    for body in ["", "07", "8007", "0701ff", "e4010000000001", "e80101"]:
        yield "no request", "-", frame(0xF3, bytes.fromhex(body))
    yield "no request", "-", frame(0xF3, b"\x07\x01" + b"x" * 257)
    for kind in [0xF7, 0xFC, 0xFD, 0xFE]:
        yield "ends it", "-", frame(kind, b"\x07")
    streams = [[b"abc", b"def"], [b"\xff12", b"\xff34", b"abc"], [b"\xff"], [b"\xff\xff\xff", b"\xf4\0\0"], []]
    for messages in streams:
        what = " ".join(payload.hex() for payload in messages) or "-"
        yield "stream", what, stream(messages, False)
        yield "stream of 3" if messages != [b"\xff"] else "stream of 1", what, stream(messages, True)
    yield "who", "0f3a91c27e alice chat", header("WHO|id=0f3a91c27e&name=alice&service=chat")
    yield "who", "0000000001 - -", header("WHO|id=0000000001")
    yield "who", "ffffffffff " + "n" * 24 + " " + "s" * 16, header(
        "WHO|id=ffffffffff&name=" + "n" * 24 + "&service=" + "s" * 16)
    yield "who is it", "-", header("WHO")


def text():
    lines = ["# Vectors for docs/protocol.md, made by frames.py. Bytes are hexadecimal.", ""]
    lines += [f"{name}: {what} = {wire.hex()}" for name, what, wire in vectors()]
    return "\n".join(lines) + "\n"


if sys.argv[1:] == ["--check"]:
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "frames.txt")
    with open(path) as file:
        sys.exit(0 if file.read() == text() else "frames.txt is not what frames.py makes")
sys.stdout.write(text())
