# SPDX-License-Identifier: Apache-2.0
"""A full tmpfs: said at once and by name, or waited out where that helps."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading, time
import ipcsys

def shortage(call, *args, **kwargs):
    begun = time.monotonic()
    try:
        call(*args, **kwargs)
    except ipcsys.NoSpace as error:
        return str(error), time.monotonic() - begun
    raise AssertionError("there was room")

# What was trimmed and is somebody else's by now: said, never a SIGBUS.
segment = ipcsys.Segment(size="1 MiB")
things = segment.construct(ipcsys.SharedMap, "things", {n: bytes([n]) * 20_000 for n in range(40)})
for n in range(1, 39):
    del things[n]
assert segment.trim() > 500_000
filler = open(sys.argv[1] + "/filler", "wb", buffering=0)
try:
    while filler.write(b"f" * 4096):
        pass
except OSError:
    pass
for n in (1, 2, 3):
    try:
        things[n] = bytes(20_000)
    except (ipcsys.NoSpace, ipcsys.SegmentFull):
        break
else:
    raise AssertionError("there was room")
assert things[0] == bytes(20_000) and things[39] == bytes([39]) * 20_000
assert segment.check() == []
filler.truncate(0)
things[1] = b"again" * 4000
assert segment.check() == [] and things[1] == b"again" * 4000
things.close()
segment.close()
filler.close()

queue = ipcsys.Queue(max_bytes="64 MiB")
count = 0
try:
    while True:
        queue.put_nowait(b"x" * 3000)
        count += 1
except ipcsys.NoSpace as error:
    assert "a queue without a name" in str(error), error
assert count > 100

said, seconds = shortage(queue.put, b"y" * 3000, timeout=0.4)
assert "a queue without a name" in said and seconds > 0.35, (said, seconds)
said, seconds = shortage(queue.put_many, [b"y" * 3000] * 3, timeout=0.2)
assert seconds > 0.15, seconds

def consume():
    time.sleep(0.2)
    for _ in range(count):
        assert queue.get() == b"x" * 3000

consumer = threading.Thread(target=consume)
consumer.start()
begun = time.monotonic()
queue.put(b"after room was made")
queue.put(b"L" * 200_000)
assert time.monotonic() - begun > 0.15
consumer.join()
assert queue.get() == b"after room was made" and queue.get() == b"L" * 200_000
assert queue.check() == [] and queue.empty()

# Nothing in it that could be taken: no waiting.
said, seconds = shortage(queue.put, b"L" * 30_000_000)
assert "a queue without a name" in said and seconds < 5, (said, seconds)

for what, make in {
    "a segment without a name": lambda: ipcsys.Segment(size="30 MiB"),
    "a segment 'big'": lambda: ipcsys.Segment("big", size="30 MiB"),
    "a segment 'map'": lambda: ipcsys.SharedMap({"k": b"v" * 30_000_000}, name="map"),
}.items():
    said, _ = shortage(make)
    assert what in said, (what, said)
"""


def test_full_memory_is_said_by_name_and_waited_out_where_that_helps(tmp_path):
    run = f'exec {sys.executable} -c "$PROGRAM" {tmp_path}'
    script = f"mount -t tmpfs -o size=3m none {tmp_path} && {run}"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "IPCSYS_DIR": str(tmp_path), "PROGRAM": PROGRAM},
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a tmpfs")
    assert done.returncode == 0, done.stderr
