"""Another implementation of the secure handshake and its records, from docs/protocol.md alone: it
makes vectors.txt.

    pip install cryptography
    python tests/secure/vectors.py > tests/secure/vectors.txt
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def parse_secret(text):
    """The 16 bytes of a secret's text, whose check is not looked at."""
    bits = "".join(f"{DIGITS.index(c):05b}" for c in text.replace("-", ""))
    return int(bits[:128], 2).to_bytes(16, "big")


def psk_of(secret):
    return secret + b"lanpeer secret 1"


def public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


class Cipher:
    """One key, the number of the next message."""

    def __init__(self, suite, key):
        self.suite, self.n = suite, 0
        self.set(key)

    def set(self, key):
        self.aead = AESGCM(key) if self.suite == "aes" else ChaCha20Poly1305(key)

    def nonce(self, n):
        return bytes(4) + n.to_bytes(8, "big" if self.suite == "aes" else "little")

    def encrypt(self, plain, ad=b""):
        sealed = self.aead.encrypt(self.nonce(self.n), plain, ad)
        self.n += 1
        return sealed

    def decrypt(self, sealed, ad=b""):
        plain = self.aead.decrypt(self.nonce(self.n), sealed, ad)
        self.n += 1
        return plain

    def rekey(self):
        self.set(self.aead.encrypt(self.nonce(2**64 - 1), bytes(32), b"")[:32])

    def seal(self, plain):
        """One record."""
        sealed = self.encrypt(plain)
        if self.n % 65536 == 0:
            self.rekey()
        return len(sealed).to_bytes(2, "big") + sealed

    def open(self, sealed):
        """What a record behind its length holds."""
        plain = self.decrypt(sealed)
        if self.n % 65536 == 0:
            self.rekey()
        return plain


class Handshake:
    def __init__(self, suite, pattern, prologue):
        name = {"aes": "AESGCM", "chacha": "ChaChaPoly"}[suite]
        name = f"Noise_{pattern}_25519_{name}_SHA256".encode()
        self.suite = suite
        self.h = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self.ck = self.h
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def hkdf(self, data, count):
        temp = hmac.digest(self.ck, data, "sha256")
        outputs, last = [], b""
        for number in range(1, count + 1):
            last = hmac.digest(temp, last + bytes([number]), "sha256")
            outputs.append(last)
        return outputs

    def mix_key(self, data):
        self.ck, key = self.hkdf(data, 2)
        self.cipher = Cipher(self.suite, key)

    def mix_key_and_hash(self, data):
        self.ck, temp, key = self.hkdf(data, 3)
        self.mix_hash(temp)
        self.cipher = Cipher(self.suite, key)

    def write(self, plain):
        """A payload, or a key that is shown."""
        sealed = self.cipher.encrypt(plain, self.h)
        self.mix_hash(sealed)
        return sealed

    def read(self, sealed):
        plain = self.cipher.decrypt(sealed, self.h)
        self.mix_hash(sealed)
        return plain

    def split(self):
        """The keys of the initiator's and of the responder's direction."""
        return [Cipher(self.suite, key) for key in self.hkdf(b"", 2)]

    # Tokens: e, and those of a key agreement.

    def e(self, public):
        self.mix_hash(public)
        self.mix_key(public)

    def dh(self, own, other):
        self.mix_key(own.exchange(X25519PublicKey.from_public_bytes(other)))


class Alice:
    """The side that asks, Noise's responder."""

    def __init__(self, noise, psk, ephemeral, static, bob_shows):
        self.noise, self.psk, self.own = noise, psk, ephemeral
        self.static, self.bob_shows = static, bob_shows

    def answer(self, message_1, payload):
        noise, bobs = self.noise, message_1[:32]
        noise.e(bobs)
        assert noise.read(message_1[32:]) == b""
        message = public(self.own)
        noise.e(message)
        noise.dh(self.own, bobs)
        noise.mix_key_and_hash(self.psk)
        if self.static:
            message += noise.write(public(self.static))
            noise.dh(self.static, bobs)
        return message + noise.write(payload)

    def finish(self, message_3):
        if self.bob_shows:
            assert message_3[:2] == bytes([0, 64])
            self.key = self.noise.read(message_3[2:50])
            self.noise.dh(self.own, self.key)
            assert self.noise.read(message_3[50:]) == b""
        else:
            assert message_3 == b""
        return self.noise.split()


class Bob:
    """The side that is asked, Noise's initiator."""

    def __init__(self, noise, psk, ephemeral, static, alice_shows):
        self.noise, self.psk, self.own = noise, psk, ephemeral
        self.static, self.alice_shows = static, alice_shows

    def begin(self):
        self.noise.e(public(self.own))
        return public(self.own) + self.noise.write(b"")

    def finish(self, message_2):
        """The payload of message 2, and message 3."""
        noise, alices, rest = self.noise, message_2[:32], message_2[32:]
        noise.e(alices)
        noise.dh(self.own, alices)
        noise.mix_key_and_hash(self.psk)
        if self.alice_shows:
            self.key = noise.read(rest[:48])
            noise.dh(self.own, self.key)
            rest = rest[48:]
        payload, message_3 = noise.read(rest), b""
        if self.static:
            message_3 = noise.write(public(self.static))
            noise.dh(self.static, alices)
            message_3 = bytes([0, 64]) + message_3 + noise.write(b"")
        return payload, message_3


def key_from(first):
    return X25519PrivateKey.from_private_bytes(bytes(range(first, first + 32)))


def session(suite, alice_shows, bob_shows):
    text = "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA"
    pattern = {(0, 0): "NNpsk2", (0, 1): "XNpsk2", (1, 0): "NXpskee", (1, 1): "XXpskee"}
    pattern = pattern[alice_shows, bob_shows]
    hello = f"HELLO|address_name=127.0.0.1:50001&peer_name=127.0.0.1:50001&data_type=json&strict=1&v=1&secure={suite}"
    accept, payload = f"ACCEPT|v=1&secure={suite}", b""
    # Who knows of no keys says nothing of them.
    if alice_shows or bob_shows:
        hello, accept = f"{hello}&key={alice_shows}", f"{accept}&key={bob_shows}"
        payload = b"what Alice says with her key"
    hello, accept = hello.ljust(128, "|"), accept.ljust(128, "|")
    psk = psk_of(parse_secret(text))
    noise = lambda: Handshake(suite, pattern, (hello + accept).encode())
    bobs, alices = key_from(64) if bob_shows else None, key_from(96) if alice_shows else None
    bob = Bob(noise(), psk, key_from(0), bobs, alice_shows)
    alice = Alice(noise(), psk, key_from(32), alices, bob_shows)

    message_1 = bob.begin()
    message_2 = alice.answer(message_1, payload)
    seen, message_3 = bob.finish(message_2)
    assert seen == payload
    from_bob, from_alice = alice.finish(message_3)
    assert alice.noise.h == bob.noise.h and alice.noise.ck == bob.noise.ck
    assert not bob_shows or alice.key == public(bobs)
    assert not alice_shows or bob.key == public(alices)

    answer = "ACCEPT|v=1".ljust(128, "|").encode()
    rows = {"suite": suite, "secret": text, "psk": psk.hex(), "hello": hello, "accept": accept}
    rows |= {"bob_ephemeral": bytes(range(32)).hex(), "alice_ephemeral": bytes(range(32, 64)).hex()}
    if bob_shows:
        rows["bob_static"] = bytes(range(64, 96)).hex()
    if alice_shows:
        rows["alice_static"] = bytes(range(96, 128)).hex()
    rows |= {
        "message_1": message_1.hex(),
        "payload_2": payload.hex(),
        "message_2": message_2.hex(),
        "message_3": message_3.hex(),
        "hash": bob.noise.h.hex(),
        "bob_plain_0": answer.hex(),
        "bob_record_0": from_bob.seal(answer).hex(),
        "alice_plain": b"the same each time".hex(),
    }
    for number in range(65536):
        record = from_alice.seal(b"the same each time")
        if number in (0, 65535):
            rows[f"alice_record_{number}"] = record.hex()
    rows["alice_end_65536"] = from_alice.seal(b"").hex()
    return pattern, rows


def main():
    print("# Vectors for docs/protocol.md, made by vectors.py. Bytes are hexadecimal.")
    for alice_shows, bob_shows in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        for suite in ["aes", "chacha"]:
            pattern, rows = session(suite, alice_shows, bob_shows)
            print(f"\n# {pattern}")
            for key, value in rows.items():
                print(f"{key} = {value}")


if __name__ == "__main__":
    main()
