# SPDX-License-Identifier: Apache-2.0
"""A damaged pool of unnamed objects: a clear error or right work, never a crash or a hang."""

import os
import random
import struct
import subprocess
import sys

import pytest
from child import Child

import ipcsys
from ipcsys import Lock

WORK = """
import pickle, sys
import ipcsys
from ipcsys import _core
def attempt(work):
    try:
        work()
    except (ipcsys.Error, MemoryError) as error:
        assert str(error)
def some():
    locks = [ipcsys.Lock() for _ in range(40)]
    for lock in locks[:3]:
        pickle.loads(pickle.dumps(lock)).acquire(timeout=0.01)
for work in (some, _core.check_cells, some, _core.cells, _core.sweep, ipcsys.Event, some):
    attempt(work)
print("through")
"""

HEAD = 8192


def path_of(folder):
    return os.path.join(folder, ".cells")


def work():
    done = subprocess.run(
        [sys.executable, "-c", WORK], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0 and done.stdout == "through\n", (done.returncode, done.stderr)


# A ticket stays that nobody uses, and damaged numbers tell of uses that nobody has.
pytestmark = pytest.mark.ipcsys_allow_leaks("unnamed")


@pytest.fixture
def pool(namespace_folder):
    kept = [Lock() for _ in range(20)]
    kept[3].__reduce__()  # leaves a ticket
    with open(path_of(namespace_folder), "r+b", buffering=0) as file:
        yield file


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_in_the_head_and_the_cells(pool, seed):
    dice = random.Random(seed)
    for _ in range(dice.choice([1, 3, 30])):
        place = dice.choice(
            [dice.randrange(0, 128), dice.randrange(128, 256)] * 2
            + [dice.randrange(4096, HEAD), dice.randrange(HEAD, HEAD + 64 * 64)]
        )
        pool.seek(place)
        pool.write(bytes([dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])]))
    work()


# 128 and 132 are the lock word, which may well name a living member: see the next test.
@pytest.mark.parametrize("offset", range(136, 256, 4))
@pytest.mark.parametrize("value", [0xFFFFFFFF, 0x7FFFFFFF], ids=hex)
def test_extreme_numbers_in_the_head(pool, offset, value):
    pool.seek(offset)
    pool.write(struct.pack("<I", value))
    work()


def test_a_lock_word_of_nobody_is_taken_over(pool):
    pool.seek(128)
    pool.write(struct.pack("<Q", 0x1234_5678_0FFF_4321))
    work()


@pytest.mark.parametrize("size", [0, 1, 64, 127, 128, 4096, HEAD, HEAD + 64, 100_000])
def test_a_file_cut_short_is_refused(namespace_folder, size):
    with Child("locks = [ipcsys.Lock() for _ in range(5)]; say('made'); hear()") as child:
        child.expect("made")
        child.kill()
    os.truncate(path_of(namespace_folder), size)
    work()
    with pytest.raises(ipcsys.Error):
        Lock()


def test_a_pool_that_was_replaced_is_noticed_when_it_grows(namespace_folder):
    code = """
kept = [ipcsys.Lock()]
say("made")
hear()
try:
    kept += [ipcsys.Lock() for _ in range(2000)]
except (ipcsys.ObjectGone, ipcsys.NotFound):
    say(kept[0].acquire(False))
"""
    with Child(code) as child:
        child.expect("made")
        os.unlink(path_of(namespace_folder))
        child.say()
        child.expect("True")
        child.finish()
