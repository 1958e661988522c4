"""Another implementation of the tags of discovery, from docs/protocol.md alone: it makes tags.txt.

    python3 tests/secure/tags.py > tests/secure/tags.txt
    python3 tests/secure/tags.py --check    # is that what it makes?

Each line is `SECRET NUMBER QUESTION DATAGRAM`. NUMBER is a nonce of 16 hexadecimal digits or a count of 10,
QUESTION the nonce that a PONG answers, else `-`. The datagram is without its padding.
"""

import base64
import hashlib
import hmac
import os
import sys

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SECRETS = ["008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA"]
ADDRS = ["10.0.0.3:62626", "255.255.255.255:65535", "1.2.3.4:5"]
LABELS = ["", "&name=bob", "&name=bob&service=chat", "&name=" + "n" * 24 + "&service=" + "s" * 16, "&name=käthe"]
NONCES = ["0000000000000000", "0011223344556677", "ffffffffffffffff", "fb3f0ac2918e7d50"]
COUNTS = ["0000000000", "0000000001", "6a00f3c1b2", "ffffffffff"]


def parse_secret(text):
    """The 16 bytes of a secret's text, whose check is not looked at."""
    bits = "".join(f"{DIGITS.index(c):05b}" for c in text.replace("-", ""))
    return int(bits[:128], 2).to_bytes(16, "big")


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def tagged(secret, text, number, question):
    key = mac(parse_secret(secret) + b"lanpeer secret 1", b"lanpeer discovery tag 1")
    number = bytes.fromhex(number)
    covered = text.encode() + number + bytes.fromhex(question)
    value = base64.urlsafe_b64encode(number + mac(key, covered)[:7]).decode()
    datagram = f"{text}&t={value}"
    assert "=" not in value and len(datagram.encode()) <= 128, datagram
    return datagram


def vectors():
    for secret in SECRETS:
        for at, addr in enumerate(ADDRS):
            for n, nonce in enumerate(NONCES):
                watch = ["", "&watch=new", "&watch=keep"][n % 3]
                text = f"PING {addr}|pinger={ADDRS[(at + n) % 3]}&v=1&id=0f3a91c27e{watch}"
                yield secret, nonce, "", text
            for labels in LABELS:
                for n, count in enumerate(COUNTS):
                    card = f"v=1&id=00000000{n:02x}{labels}"
                    yield secret, count, NONCES[n], f"PONG {addr}|{card}"
                    every = ["", "&every=1", "&every=42", "&every=900"][n]
                    yield secret, count, "", f"HERE {addr}|{card}{every}"
        for count in COUNTS:
            yield secret, count, "", "GONE|v=1&id=0f3a91c27e"


def main():
    lines = ["# Made by tags.py, which says what they mean."]
    for secret, number, question, text in vectors():
        datagram = tagged(secret, text, number, question)
        lines.append(f"{secret} {number} {question or '-'} {datagram}")
    made = "\n".join(lines) + "\n"
    if sys.argv[1:] != ["--check"]:
        sys.stdout.write(made)
        return
    with open(os.path.join(os.path.dirname(__file__), "tags.txt"), encoding="utf-8") as file:
        if file.read() != made:
            sys.exit("tests/secure/tags.txt is not what tags.py makes")


main()
