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


def is_passphrase(text):
    """The bit behind those of the secret."""
    return DIGITS.index(text.replace("-", "")[25]) >> 1 & 1 == 1


def psk_of(secret):
    return secret + b"lanpeer secret 1"


def public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


# ristretto255, from RFC 9496: points of Edwards25519 as x, y, with z = 1.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def is_negative(x):
    return x % P & 1 == 1


def positive(x):
    return -x % P if is_negative(x) else x % P


def root_of_ratio(u, v):
    """Whether u / v is a square, and the root of it, or of it times the root of -1."""
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    if check in (-u % P, -u * ROOT_OF_MINUS_1 % P):
        r = r * ROOT_OF_MINUS_1 % P
    return check in (u % P, -u % P), positive(r)


ROOT_OF_AD_MINUS_1 = -root_of_ratio(-D - 1, 1)[1] % P
INVERSE_ROOT_OF_A_MINUS_D = root_of_ratio(1, -1 - D)[1]


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + k, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - k, -1, P)
    return x % P, y % P


def multiply(n, point):
    total = (0, 1)
    while n:
        if n & 1:
            total = add(total, point)
        point, n = add(point, point), n >> 1
    return total


def decode(text):
    s = int.from_bytes(text, "little")
    assert s < P and not is_negative(s)
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    is_square, inverse = root_of_ratio(1, v * u2 * u2)
    x_inverse = inverse * u2
    x = positive(2 * s * x_inverse)
    y = u1 * inverse * x_inverse * v % P
    assert is_square and not is_negative(x * y) and y != 0
    return x, y


def encode(point):
    x, y = point
    u1, u2 = (1 + y) * (1 - y) % P, x * y % P
    _, inverse = root_of_ratio(1, u1 * u2 * u2)
    d1, d2 = inverse * u1, inverse * u2
    z_inverse = d1 * d2 * x * y % P
    if is_negative(x * y * z_inverse):
        x, y, d = y * ROOT_OF_MINUS_1, x * ROOT_OF_MINUS_1, d1 * INVERSE_ROOT_OF_A_MINUS_D
    else:
        d = d2
    if is_negative(x * z_inverse):
        y = -y
    return positive(d * (1 - y)).to_bytes(32, "little")


def map_to_point(text):
    t = int.from_bytes(text, "little") % 2**255 % P
    r = ROOT_OF_MINUS_1 * t * t % P
    u = (r + 1) * (1 - D * D) % P
    v = (-1 - r * D) * (r + D) % P
    is_square, s = root_of_ratio(u, v)
    c = -1
    if not is_square:
        s, c = -positive(s * t) % P, r
    n = (c * (r - 1) * (D - 1) ** 2 - v) % P
    w0, w1 = 2 * s * v, n * ROOT_OF_AD_MINUS_1
    w2, w3 = 1 - s * s, 1 + s * s
    return w0 * pow(w1, -1, P) % P, w2 * pow(w3, -1, P) % P


# CPace.


def lv_cat(*parts):
    assert all(len(part) < 128 for part in parts)
    return b"".join(bytes([len(part)]) + part for part in parts)


class Share:
    def __init__(self, password, session, scalar):
        zeros = bytes(128 - 1 - (1 + len(password)) - (1 + len(b"CPaceRistretto255")))
        text = lv_cat(b"CPaceRistretto255", password, zeros, b"lanpeer", session)
        hash = hashlib.sha512(text).digest()
        self.generator = add(map_to_point(hash[:32]), map_to_point(hash[32:]))
        self.scalar, self.session = int.from_bytes(scalar, "little") % ORDER, session
        self.public = encode(multiply(self.scalar, self.generator))

    def key(self, other, bobs, alices):
        agreed = encode(multiply(self.scalar, decode(other)))
        text = lv_cat(b"CPaceRistretto255_ISK", self.session, agreed)
        return hashlib.sha512(text + lv_cat(bobs, b"bob", alices, b"alice")).digest()


def wrap(word, number, key):
    pad = hashlib.sha256(b"lanpeer pad" + bytes([number]) + key).digest()
    return bytes(a ^ b for a, b in zip(word, pad))


def psk_from(word, answer):
    return hashlib.sha256(b"lanpeer psk" + word + answer).digest()


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

    def __init__(self, noise, secret, ephemeral, static, bob_shows):
        self.noise, self.secret, self.own = noise, secret, ephemeral
        self.static, self.bob_shows = static, bob_shows

    def answer(self, message_1, payload, scalar, word):
        noise, bobs = self.noise, message_1[:32]
        noise.e(bobs)
        session = noise.h
        shares = noise.read(message_1[32:])
        before, self.psk = b"", psk_of(parse_secret(self.secret))
        if is_passphrase(self.secret):
            share = Share(parse_secret(self.secret), session, scalar)
            before = share.public
            for number in range(len(shares) // 32):
                his = shares[32 * number : 32 * number + 32]
                before += wrap(word, number, share.key(his, his, share.public))
            self.psk = psk_from(word, before)
        else:
            assert shares == b""
        message = public(self.own)
        noise.e(message)
        noise.dh(self.own, bobs)
        noise.mix_key_and_hash(self.psk)
        if self.static:
            message += noise.write(public(self.static))
            noise.dh(self.static, bobs)
        return before + message + noise.write(payload)

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

    def __init__(self, noise, secrets, ephemeral, static, alice_shows):
        self.noise, self.secrets, self.own = noise, secrets, ephemeral
        self.static, self.alice_shows = static, alice_shows
        self.shares = []

    def begin(self, scalars):
        self.noise.e(public(self.own))
        session = self.noise.h
        if scalars:
            pairs = zip(self.secrets, scalars)
            self.shares = [Share(parse_secret(text), session, scalar) for text, scalar in pairs]
        said = b"".join(share.public for share in self.shares)
        return public(self.own) + self.noise.write(said)

    def finish(self, message_2, fits):
        """The payload of message 2, and message 3. `fits` is which of his secrets is hers."""
        psk = psk_of(parse_secret(self.secrets[fits]))
        if self.shares:
            answer, message_2 = message_2[: 32 + 32 * len(self.shares)], message_2[32 + 32 * len(self.shares) :]
            share, hers = self.shares[fits], answer[:32]
            key = share.key(hers, share.public, hers)
            psk = psk_from(wrap(answer[32 + 32 * fits : 64 + 32 * fits], fits, key), answer)
        noise, alices, rest = self.noise, message_2[:32], message_2[32:]
        noise.e(alices)
        noise.dh(self.own, alices)
        noise.mix_key_and_hash(psk)
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


def write_secret(secret, passphrase):
    """The text of a secret."""
    bits = int.from_bytes(secret, "big") << 2 | (2 if passphrase else 0)
    data = [bits >> 5 * (25 - at) & 31 for at in range(26)]

    def times(a, power):
        for _ in range(power):
            a = a << 1 ^ (0b100101 if a & 16 else 0)
        return a

    for last in range(32 * 32):
        symbols = data + [last >> 5, last & 31]
        total, weighted = 0, 0
        for at, symbol in enumerate(symbols):
            total, weighted = total ^ symbol, weighted ^ times(symbol, at)
        if (total, weighted) == (1, 0):
            text = "".join(DIGITS[symbol] for symbol in symbols)
            return "-".join(text[at : at + 4] for at in range(0, 28, 4))


KEY_TEXT = "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA"


def session(suite, alice_shows, bob_shows, passphrases=0):
    """With passphrases, Bob has so many, and Alice has his last but one."""
    secrets, fits = [KEY_TEXT], 0
    if passphrases:
        secrets = [write_secret(bytes(range(16 * at, 16 * at + 16)), True) for at in range(passphrases)]
        fits = max(0, passphrases - 2)
    text = secrets[fits]
    assert is_passphrase(text) == bool(passphrases)
    pattern = {(0, 0): "NNpsk2", (0, 1): "XNpsk2", (1, 0): "NXpskee", (1, 1): "XXpskee"}
    pattern = pattern[alice_shows, bob_shows]
    hello = f"HELLO|address_name=127.0.0.1:50001&peer_name=127.0.0.1:50001&data_type=json&strict=1&v=1&secure={suite}{'-p' if passphrases else ''}"
    accept, payload = f"ACCEPT|v=1&secure={suite}", b""
    # Who knows of no keys says nothing of them.
    if alice_shows or bob_shows:
        hello, accept = f"{hello}&key={alice_shows}", f"{accept}&key={bob_shows}"
        payload = b"what Alice says with her key"
    if passphrases:
        accept += f"&shares={passphrases}"
    hello, accept = hello.ljust(128, "|"), accept.ljust(128, "|")
    noise = lambda: Handshake(suite, pattern, (hello + accept).encode())
    bobs, alices = key_from(64) if bob_shows else None, key_from(96) if alice_shows else None
    bob = Bob(noise(), secrets, key_from(0), bobs, alice_shows)
    alice = Alice(noise(), text, key_from(32), alices, bob_shows)
    scalars = [hashlib.sha512(b"bob %d" % at).digest() for at in range(passphrases)]
    alices_scalar, word = hashlib.sha512(b"alice").digest(), hashlib.sha256(b"word").digest()

    message_1 = bob.begin(scalars)
    message_2 = alice.answer(message_1, payload, alices_scalar, word)
    seen, message_3 = bob.finish(message_2, fits)
    assert seen == payload
    from_bob, from_alice = alice.finish(message_3)
    assert alice.noise.h == bob.noise.h and alice.noise.ck == bob.noise.ck
    assert not bob_shows or alice.key == public(bobs)
    assert not alice_shows or bob.key == public(alices)

    answer = "ACCEPT|v=1".ljust(128, "|").encode()
    rows = {"suite": suite, "secret": text}
    if passphrases:
        rows |= {"bobs_secret": secrets, "bob_scalar": [scalar.hex() for scalar in scalars]}
        rows |= {"alice_scalar": alices_scalar.hex(), "word": word.hex()}
    rows |= {"psk": alice.psk.hex(), "hello": hello, "accept": accept}
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


def show(pattern, rows):
    print(f"\n# {pattern}")
    for key, value in rows.items():
        for value in value if isinstance(value, list) else [value]:
            print(f"{key} = {value}")


def check_against_drafts():
    """The multiples of the base point and a hash from RFC 9496, and the draft's session of CPace."""
    y = 4 * pow(5, -1, P) % P
    x = root_of_ratio(y * y - 1, D * y * y + 1)[1]
    base = x, y
    assert encode(base).hex() == "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"
    assert encode(multiply(ORDER + 2, base)).hex() == "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919"
    assert encode(multiply(3, decode(encode(base)))) == encode(multiply(3, base))
    hash = bytes.fromhex(
        "c63a5750e2439c17ccd8213be14fde2f87e1bc637001a97f5929c77b30ea0e08"
        "afbc75ace5d3d73b2842a79d01488c5fd7ea30d475ee609545af1bfd1ff77c8e"
    )
    generator = add(map_to_point(hash[:32]), map_to_point(hash[32:]))
    assert encode(generator).hex() == "a6fc82c3b8968fbb2e06fee81ca858586dea50d248f0c7ca6a18b0902a30b36b"


def main():
    check_against_drafts()
    print("# Vectors for docs/protocol.md, made by vectors.py. Bytes are hexadecimal.")
    for alice_shows, bob_shows in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        for suite in ["aes", "chacha"]:
            show(*session(suite, alice_shows, bob_shows))
    for alice_shows, bob_shows, passphrases in [(0, 0, 1), (0, 0, 3), (1, 1, 1), (1, 1, 8)]:
        show(*session("chacha", alice_shows, bob_shows, passphrases))


if __name__ == "__main__":
    main()
