# SPDX-License-Identifier: Apache-2.0
"""Files whose checksums are right and whose contents make no sense: an error, never more."""

import random
import struct
import subprocess
import sys

import pytest

from ipcsys import Segment, SharedMap

PAGE, MASK = 4096, (1 << 64) - 1
STEP, LAST = 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1
SIZE, ROOT, SUM = 144, 160, 504  # in a head
ODD = (0, 1, 63, 64, 4096, 1 << 20, 1 << 32, 1 << 44, 1 << 63, MASK)

OPEN = """
import sys, ipcsys
for path in sys.stdin.read().split():
    try:
        with ipcsys.Segment(path=path, create=False) as segment:
            name = segment.name
            try:
                segment.check()
                for key in segment:
                    with segment[key] as thing:
                        dict(thing)
                segment.flush()
            finally:
                segment.close()
                ipcsys.Segment.remove(name)
    except (ipcsys.Error, MemoryError, LookupError, ValueError):
        pass
print("through")
"""


def mix(lane, word):
    lane = (lane ^ word) * STEP & MASK
    return (lane << 29 | lane >> 35) & MASK


def checksum(data):
    """base/checksum.h, once more."""
    lanes = [(i + 1) * LAST & MASK for i in range(8)]
    for i, word in enumerate(struct.unpack(f"<{len(data) // 8}Q", data)):
        lanes[i % 8] = mix(lanes[i % 8], word)
    total = len(data) * LAST & MASK
    for lane in lanes:
        total = mix(total, lane)
    total = (total ^ total >> 32) * LAST & MASK
    return total ^ total >> 29


def word(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def put(data, at, value):
    struct.pack_into("<Q", data, at, value)


def sign_head(data, slot):
    head = slot * PAGE
    put(data, head + SUM, 0)
    put(data, head + SUM, checksum(data[head : head + 512]))


def present(data):
    return max((0, 1), key=lambda slot: word(data, slot * PAGE + 128))


def sign_all(data):
    """Make all sums right again: pages, the node, the head."""
    head = present(data) * PAGE
    node = word(data, head + ROOT) * PAGE
    for at in range(node, node + PAGE, 16):
        page = word(data, at) * PAGE
        if 0 < page <= len(data) - PAGE:
            put(data, at + 8, checksum(data[page : page + PAGE]))
    put(data, head + ROOT + 8, checksum(data[node : node + PAGE]))
    sign_head(data, head // PAGE)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "file"
    with Segment(path=path, size="64 KiB") as segment:
        segment.construct(SharedMap, "m", {str(i): "x" * 50 for i in range(100)}).close()
        segment.flush()
    data = path.read_bytes()
    Segment.remove(path=path)
    assert word(data, present(data) * PAGE + SUM) != 0
    again = bytearray(data)
    sign_all(again)
    assert again == data, "the sums are those of the core"
    return data


def open_all(tmp_path, images):
    paths = []
    for number, data in enumerate(images):
        paths.append(tmp_path / str(number))
        paths[-1].touch(mode=0o600)
        paths[-1].write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", OPEN], input="\n".join(map(str, paths)), text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "through\n"), done.stderr[-2000:]


def test_a_head_that_makes_no_sense(image, tmp_path):
    images = []
    for at in (32, 128, 136, SIZE, 152, ROOT, ROOT + 8):
        for value in ODD:
            data = bytearray(image)
            put(data, present(data) * PAGE + at, value)
            sign_head(data, present(image))
            images.append(data)
    open_all(tmp_path, images)


def test_references_that_lead_astray(image, tmp_path):
    chance = random.Random(1)
    images = []
    node = word(image, present(image) * PAGE + ROOT) * PAGE
    for _ in range(25):
        data = bytearray(image)
        at = node + 16 * chance.choice((0, 1, 5, 9, 15, 16, 200, 255))
        put(data, at, chance.choice((*range(8), *ODD)))
        sign_all(data)
        images.append(data)
    open_all(tmp_path, images)


def test_pages_of_nonsense(image, tmp_path):
    chance = random.Random(2)
    images = []
    node = word(image, present(image) * PAGE + ROOT) * PAGE
    pages = [word(image, at) * PAGE for at in range(node, node + PAGE, 16) if word(image, at)]
    for _ in range(40):
        data = bytearray(image)
        for _ in range(chance.choice((1, 1, 3, 50))):
            at = chance.choice((pages[0], *pages)) + 8 * chance.randrange(PAGE // 8)
            put(data, at, chance.choice((*ODD, chance.getrandbits(64), chance.randrange(1 << 17))))
        sign_all(data)
        images.append(data)
    open_all(tmp_path, images)
