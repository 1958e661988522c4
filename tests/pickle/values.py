"""Random values of Python as pickles, and pickles as text: Python's side of the tests.

    values.py write SEED COUNT    lines "PROTOCOL HEX TEXT", each value in every protocol
    values.py read                lines of HEX on the input become lines "TEXT REPR"
    values.py check               the same for what may be no pickle: TEXT, or "refused"

The text is the value as tests/pickle/plain.rs writes it.
"""

import io
import pickle
import pickletools
import random
import struct
import sys


def text(value, kinds=()):
    """Tuples and sets are told from lists only where `kinds` names them."""
    if value is None:
        return "N"
    if value is True:
        return "T"
    if value is False:
        return "F"
    if isinstance(value, int):
        return f"i{value}"
    if isinstance(value, float):
        return "f" + ("nan" if value != value else struct.pack(">d", value).hex())
    if isinstance(value, str):
        return "s" + value.encode().hex()
    if isinstance(value, (bytes, bytearray)):
        return "b" + bytes(value).hex()
    if isinstance(value, dict):
        pairs = (text(k, kinds) + ":" + text(v, kinds) for k, v in value.items())
        return "{" + ",".join(pairs) + "}"
    items = ",".join(text(item, kinds) for item in value)
    if isinstance(value, tuple) and tuple in kinds:
        return f"({items})"
    if isinstance(value, (set, frozenset)) and set in kinds:
        return f"<{items}>"
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{items}]"
    raise TypeError(type(value))


class Values:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.made = []

    def number(self):
        bits = self.random.choice([1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 62, 63])
        value = self.random.getrandbits(bits) + self.random.choice([-1, 0, 1])
        return self.random.choice([value, -value, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, value])

    def string(self):
        alphabet = "ab \\u\n\r\0\x1a'\"\t\x7f\x80\xe9\xff\u20ac\ud7ff\ue000\U0001f600\U0010ffff"
        length = self.random.choice([0, 1, 1, 2, 5, 255, 256, 300])
        return "".join(self.random.choices(alphabet, k=length))

    def bytes(self):
        return self.random.randbytes(self.random.choice([0, 1, 2, 5, 255, 256, 300]))

    def float(self):
        special = [0.0, -0.0, 1.5, 1e300, -1e-300, 5e-324, float("inf"), float("-inf"), float("nan")]
        return self.random.choice(special + [self.random.random() * 10 ** self.random.randint(-9, 9)])

    def key(self, depth):
        """What can be hashed."""
        kind = self.random.randrange(8)
        if kind < 3:
            return self.string()
        if kind == 3:
            return self.number()
        if kind == 4:
            return self.bytes()
        if kind == 5:
            return self.random.choice([None, True, False, 0.5])
        if depth > 3:
            return self.number()
        items = [self.key(depth + 1) for _ in range(self.random.randrange(5))]
        return tuple(items) if kind == 6 else frozenset(items)

    def value(self, depth=0):
        if self.made and self.random.random() < 0.15:
            return self.random.choice(self.made)
        value = self.new(depth)
        if len(text(value)) < 2_000:
            self.made.append(value)
        return value

    def new(self, depth):
        kind = self.random.randrange(9 if depth > 4 else 18)
        if kind == 0:
            return self.random.choice([None, True, False])
        if kind < 3:
            return self.number()
        if kind == 3:
            return self.float()
        if kind < 6:
            return self.string()
        if kind == 6:
            return self.bytes()
        if kind == 7:
            return bytearray(self.bytes())
        if kind == 8:
            return self.key(0)
        size = self.random.choice([0, 1, 2, 3, 4, 5])
        if kind == 9 and depth > 1:
            size = 1_100  # more than a batch of Python's pickler
            return [self.random.randrange(3) for _ in range(size)]
        if kind < 12:
            return [self.value(depth + 1) for _ in range(size)]
        if kind < 14:
            return tuple(self.value(depth + 1) for _ in range(size))
        if kind < 17:
            return {self.key(0): self.value(depth + 1) for _ in range(size)}
        return {self.key(0) for _ in range(size)}


def write(seed, count):
    values = Values(seed)
    for number in range(count):
        if number % 20 == 0:
            values.made.clear()
        value = values.value()
        line = text(value)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            pickled = pickle.dumps(value, protocol)
            if number % 3 == 1:  # the pickler that is written in Python
                file = io.BytesIO()
                pickle._Pickler(file, protocol).dump(value)
                pickled = file.getvalue()
            if number % 3 == 2:  # without what the memo does not need
                pickled = pickletools.optimize(pickled)
            print(protocol, pickled.hex(), line)


def read():
    for line in sys.stdin:
        pickled = bytes.fromhex(line)
        pickletools.dis(pickled, out=io.StringIO())
        value = pickle.loads(pickled)
        print(text(value, [tuple]), repr(value))


class Guarded(pickle.Unpickler):
    """Finds only what plain data needs."""

    def find_class(self, module, name):
        if (module, name) == ("_codecs", "encode") or (
            module in ("builtins", "__builtin__")
            and name in ("bytes", "bytearray", "set", "frozenset")
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def check():
    for line in sys.stdin:
        try:
            value = Guarded(io.BytesIO(bytes.fromhex(line))).load()
            line = text(value, [set])
        except Exception:  # whatever is wrong with it
            line = "refused"
        print(line)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "read":
        read()
    else:
        check()
