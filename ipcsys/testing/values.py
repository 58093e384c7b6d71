# SPDX-License-Identifier: Apache-2.0
"""Compare our MessagePack with another library's, on boundary, generated and damaged values.

    python -m ipcsys.testing.values                      a million generated values
    python -m ipcsys.testing.values --count 20000000     twenty
    python -m ipcsys.testing.values --seconds 60         until then, at most

Needs the package msgpack.  Our bytes must be those of that library, each must
read what the other wrote, and what was damaged or cut must be a value or a
DecodeError.  Exit status 1 at the first difference, which is printed with the
seed that leads there again.
"""

import argparse
import math
import random
import struct
import sys
import time

from ipcsys._core import decode_value, encode_value
from ipcsys.errors import DecodeError

MSGPACK = 1
_FLAGS = 1 | 2  # no pickle, no raw bytes
_BLOCK = 1000  # values between two looks at the clock, each block with a seed of its own


class Difference(Exception):
    """What is not as it should be."""


def boundaries():
    """Every value at which the format changes its form, and its neighbours."""
    yield from (None, True, False, 0.0, -0.0, math.inf, -math.inf, math.nan)
    yield from (5e-324, 2.2250738585072014e-308, sys.float_info.max, 1 / 3, 2.0**53 + 2, 1e23)
    for bits in range(65):
        for number in {(1 << bits) + near for near in (-2, -1, 0, 1)}:
            yield from (each for each in (number, -number) if -(1 << 63) <= each < 1 << 64)
    yield from (-32, -33, -31, -127, -128, -129, 127, 128, 255, 256)
    for edge in (0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536):
        for size in {max(0, edge - 1), edge, edge + 1}:
            yield from ("x" * size, bytes(size), "ü" * (size // 2), "\U0001f600" * (size // 4))
            yield [None] * size
            yield dict.fromkeys(range(size))
    for depth in (1, 50, 99):
        value = []
        for _ in range(depth):
            value = [value]
        yield value
    for point in (0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF):
        yield chr(point) + "\0" + chr(point)


class Generator:
    """Values without end, from a seed."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def value(self, depth=0):
        draw = self._random.random()
        if draw < 0.25 and depth < 4:
            many = range(int(self._random.expovariate(0.25)))
            if draw < 0.12:
                return [self.value(depth + 1) for _ in many]
            return {self._key(): self.value(depth + 1) for _ in many}
        return self._leaf()

    def _key(self):
        return self._text() if self._random.random() < 0.7 else self._integer()

    def _leaf(self):
        return self._random.choice(
            (self._integer, self._integer, self._float, self._text, self._text, self._bytes,
             lambda: None, lambda: True, lambda: False)
        )()  # fmt: skip

    def _integer(self):
        bits = self._random.randrange(65)
        number = self._random.getrandbits(bits) if bits else 0
        return number if self._random.random() < 0.5 else -(number >> 1)

    def _float(self):
        # any bits at all, NaN and infinities among them
        return struct.unpack("<d", self._random.randbytes(8))[0]

    def _bytes(self):
        return self._random.randbytes(int(self._random.expovariate(1 / 20)))

    def _text(self):
        size = int(self._random.expovariate(1 / 10))
        top = self._random.choice((0x7F, 0xFF, 0x7FF, 0xD7FF))
        return "".join([chr(self._random.randint(0, top)) for _ in range(size)])

    def damaged(self, data):
        """The bytes cut short, or with some of them changed."""
        if self._random.random() < 0.5:
            return data[: self._random.randrange(len(data))], True
        spoilt = bytearray(data)
        for _ in range(self._random.randint(1, 3)):
            spoilt[self._random.randrange(len(data))] = self._random.getrandbits(8)
        return bytes(spoilt), False


def same(one, other):
    """Equal and of the same types, all through; floats bit for bit but for a NaN's payload."""
    if type(one) is not type(other):
        return False
    if type(one) is float:
        return one.hex() == other.hex()
    if type(one) is list:
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    return one == other


def compare(value, library):
    """Our bytes of the value, once everything about them was found right."""
    kind, ours = encode_value(value, _FLAGS)
    theirs = library.packb(value, use_bin_type=True)
    if (kind, ours) != (MSGPACK, theirs):
        raise Difference(f"{value!r:.300}: ours {ours[:60].hex()}, theirs {theirs[:60].hex()}")
    if not same(decode_value(MSGPACK, theirs), value):
        raise Difference(f"{value!r:.300} comes back as {decode_value(MSGPACK, theirs)!r:.300}")
    read = library.unpackb(ours, strict_map_key=False)
    if not same(read, value):
        raise Difference(f"{value!r:.300} is read by the other library as {read!r:.300}")
    return ours


def refuse(data, is_cut):
    """Damaged bytes are a value or a DecodeError; what was cut short is never a value."""
    try:
        value = decode_value(MSGPACK, data)
    except DecodeError:
        return
    if is_cut:
        raise Difference(f"{data[:60].hex()}, which was cut short, reads as {value!r:.300}")


def run(count, seconds, seed, library):
    """(values compared, damaged ones tried) within the bounds."""
    late = time.monotonic() + seconds
    compared = tried = 0
    for value in boundaries():
        compare(value, library)
        compared += 1
    while compared < count and time.monotonic() < late:
        generator = Generator(seed)
        for _ in range(min(_BLOCK, count - compared)):
            value = generator.value()
            try:
                data = compare(value, library)
                refuse(*generator.damaged(data))
            except Difference as found:
                raise Difference(f"seed {seed}: {found}") from None
            compared += 1
            tried += 1
        seed += 1
    return compared, tried


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m ipcsys.testing.values", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="values to compare")
    parser.add_argument("--seconds", type=float, default=3600.0, help="at most so long")
    parser.add_argument("--seed", type=int, default=0, help="of the first thousand values")
    asked = parser.parse_args(argv)
    try:
        import msgpack
    except ImportError:
        print("the module msgpack is not installed; pip install 'ipcsys[test]'")
        return 2
    try:
        compared, tried = run(asked.count, asked.seconds, asked.seed, msgpack)
    except Difference as found:
        print(found)
        return 1
    print(f"{compared} values compared with msgpack {msgpack.version}, {tried} damaged, all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
