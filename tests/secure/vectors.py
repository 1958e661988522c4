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
    def __init__(self, suite, prologue):
        name = {"aes": "AESGCM", "chacha": "ChaChaPoly"}[suite]
        name = f"Noise_NNpsk2_25519_{name}_SHA256".encode()
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

    def write_nothing(self):
        tag = self.cipher.encrypt(b"", self.h)
        self.mix_hash(tag)
        return tag

    def read_nothing(self, tag):
        assert self.cipher.decrypt(tag, self.h) == b""
        self.mix_hash(tag)

    def split(self):
        """The keys of the initiator's and of the responder's direction."""
        return [Cipher(self.suite, key) for key in self.hkdf(b"", 2)]

    # The tokens e, and ee with psk behind it.

    def e(self, key):
        self.mix_hash(key)
        self.mix_key(key)

    def ee_psk(self, own, other, psk):
        self.mix_key(own.exchange(X25519PublicKey.from_public_bytes(other)))
        self.mix_key_and_hash(psk)


def ask(suite, psk, hello, accept, message_1, own):
    """Alice's side: her answer, and the ciphers of Bob's and of her direction."""
    noise = Handshake(suite, hello + accept)
    bobs = message_1[:32]
    noise.e(bobs)
    noise.read_nothing(message_1[32:])
    noise.e(public(own))
    noise.ee_psk(own, bobs, psk)
    message_2 = public(own) + noise.write_nothing()
    return message_2, *noise.split()


def main():
    text = "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA"
    print("# Vectors for docs/protocol.md, made by vectors.py. Bytes are hexadecimal.")
    for suite in ["aes", "chacha"]:
        hello = f"HELLO|address_name=127.0.0.1:50001&peer_name=127.0.0.1:50001&data_type=json&strict=1&v=1&secure={suite}"
        hello, accept = hello.ljust(128, "|"), f"ACCEPT|v=1&secure={suite}".ljust(128, "|")
        psk = psk_of(parse_secret(text))
        bobs, alices = bytes(range(32)), bytes(range(32, 64))
        bob, alice = map(X25519PrivateKey.from_private_bytes, [bobs, alices])

        # Bob's first message.
        noise = Handshake(suite, (hello + accept).encode())
        noise.e(public(bob))
        message_1 = public(bob) + noise.write_nothing()
        message_2, from_bob, from_alice = ask(
            suite, psk, hello.encode(), accept.encode(), message_1, alice
        )
        noise.e(message_2[:32])
        noise.ee_psk(bob, message_2[:32], psk)
        noise.read_nothing(message_2[32:])

        answer = "ACCEPT|v=1".ljust(128, "|").encode()
        rows = {
            "suite": suite,
            "secret": text,
            "psk": psk.hex(),
            "hello": hello,
            "accept": accept,
            "bob_ephemeral": bobs.hex(),
            "alice_ephemeral": alices.hex(),
            "message_1": message_1.hex(),
            "message_2": message_2.hex(),
            "bob_plain_0": answer.hex(),
            "bob_record_0": from_bob.seal(answer).hex(),
            "alice_plain": b"the same each time".hex(),
        }
        for number in range(65536):
            record = from_alice.seal(b"the same each time")
            if number in (0, 65535):
                rows[f"alice_record_{number}"] = record.hex()
        rows["alice_end_65536"] = from_alice.seal(b"").hex()
        print()
        for key, value in rows.items():
            print(f"{key} = {value}")


if __name__ == "__main__":
    main()
