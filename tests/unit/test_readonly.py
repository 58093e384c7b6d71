# SPDX-License-Identifier: Apache-2.0
"""Segment(readonly=True): all can be read, nothing can be changed."""

import os
import pickle

import pytest
from child import Child

from ipcsys import (
    AccessDenied,
    AtomicInt,
    Event,
    FormatError,
    InUse,
    Lock,
    NotFound,
    ReadOnly,
    Record,
    Segment,
    Semaphore,
    SharedArray,
    SharedBytes,
    SharedCell,
    SharedDeque,
    SharedMap,
    SharedString,
    SharedVector,
)


class Tick(Record):
    symbol: str
    price: float = 0.0


def fill(segment):
    segment.construct(SharedMap, "map", {1: "one", "large": "v" * 5000, "n": 7})
    segment.construct(SharedDeque, "deque", [1, "two", "v" * 500])
    segment.construct(SharedVector, "vector", [3, 1, 2])
    segment.construct(SharedVector, "typed", [3.5, 1.5], typecode="d")
    segment.construct(SharedString, "string", "text")
    segment.construct(SharedBytes, "bytes", b"octets")
    segment.construct(SharedCell, "cell", {"a": 1})
    segment.construct(Tick, "tick", "BTC", 2.5)
    segment.construct(SharedArray, "array", shape=(4,), dtype="i8")
    segment.construct(AtomicInt, "number", 5)
    segment.construct(Lock, "lock")
    segment.construct(Event, "event")
    segment.construct(Semaphore, "semaphore", 2)
    for key in segment:
        segment[key].close() if hasattr(segment[key], "close") else None


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    with Segment(path=path, size="1 MiB") as made:
        fill(made)
        made.set_quota("1 MiB")
        made.flush()
    os.chmod(path, 0o400)
    yield path
    os.chmod(path, 0o600)
    Segment.remove(path=path)


@pytest.fixture
def live():
    """One that another process has made: ours looks at it."""
    code = """
import importlib.util
spec = importlib.util.spec_from_file_location("test_readonly", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
segment = ipcsys.Segment("live", "1 MiB", "8 MiB")
module.fill(segment)
say("made")
while (line := hear()) != "end":
    exec(line)
    say("done")
"""
    with Child(f"sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})\n"
               f"sys.path.insert(0, {os.path.dirname(os.path.abspath(Child.__init__.__code__.co_filename))!r})"
               + code, __file__) as child:  # fmt: skip
        child.expect("made")
        yield child
        child.say("end")
        child.finish()
    Segment.remove("live")


@pytest.fixture
def segment(path):
    with Segment(path=path, readonly=True) as made:
        yield made


CHANGES = {
    "map": [
        lambda m: m.__setitem__(1, "uno"), lambda m: m.__setitem__("new", 1),
        lambda m: m.__delitem__(1), lambda m: m.clear(), lambda m: m.update({2: 2}),
        lambda m: m.pop("n"), lambda m: m.popitem(), lambda m: m.setdefault("k", 1),
        lambda m: m.insert("k", 1), lambda m: m.increment("n", 1),
        lambda m: m.compare_and_set("n", 7, 8),
    ],
    "deque": [
        lambda d: d.append(1), lambda d: d.appendleft(1), lambda d: d.pop(), lambda d: d.popleft(),
        lambda d: d.extend([1, 2]), lambda d: d.clear(), lambda d: d.rotate(1),
        lambda d: d.__setitem__(0, 5), lambda d: d.push(1),
    ],
    "vector": [
        lambda v: v.append(1), lambda v: v.sort(), lambda v: v.insert(0, 1), lambda v: v.pop(),
        lambda v: v.__setitem__(0, 9), lambda v: v.__delitem__(0), lambda v: v.reverse(),
    ],
    "typed": [lambda v: v.append(1.0), lambda v: v.__setitem__(0, 9.0), lambda v: v.clear()],
    "string": [lambda s: s.__iadd__("more"), lambda s: s.clear()],
    "bytes": [lambda b: b.__iadd__(b"more"), lambda b: b.clear()],
    "cell": [lambda c: c.store(1), lambda c: c.exchange(2),
             lambda c: c.compare_exchange({"a": 1}, 2)],
    "tick": [lambda t: setattr(t, "price", 3.0), lambda t: setattr(t, "symbol", "long" * 50)],
}  # fmt: skip


def read_all(segment):
    assert segment.readonly is True
    assert segment["map"] == {1: "one", "large": "v" * 5000, "n": 7} and len(segment["map"]) == 3
    assert list(segment["deque"]) == [1, "two", "v" * 500]
    assert segment["vector"] == [3, 1, 2] and list(segment["typed"]) == [3.5, 1.5]
    assert segment["string"] == "text" and segment["bytes"] == b"octets"
    assert segment["cell"].load() == {"a": 1} and segment["tick"].price == 2.5
    assert segment.find("tick", Tick).symbol == "BTC"
    assert "map" in segment and len(segment) == 13 and segment.keys()[0] == "map"
    assert segment.check() == [] and segment.stats().objects == 13
    with segment.read():
        assert segment["map"][1] == "one"
    with segment.transaction():
        assert segment["map"][1] == "one"


SEGMENT_CHANGES = [
    lambda s: s.construct(SharedMap, "new"), lambda s: s.construct(AtomicInt, "new"),
    lambda s: s.construct(SharedArray, "new", shape=(3,), dtype="f8"),
    lambda s: s.find_or_construct(Tick, "new", "x"),
    lambda s: s.destroy("map"), lambda s: s.destroy("lock"), lambda s: s.destroy("array"),
    lambda s: s.pool(64, 4), lambda s: s.arena(), lambda s: s.set_quota("1 MiB"),
    lambda s: s.set_quota("1 MiB", pid=os.getpid()), lambda s: s.trim(), lambda s: s.flush(),
    lambda s: s.request_shutdown(), lambda s: pickle.dumps(s),
]  # fmt: skip


def change_all(segment):
    for key, changes in CHANGES.items():
        thing = segment[key]
        for change in changes:
            with pytest.raises(ReadOnly, match="readonly=True"):
                change(thing)
            with pytest.raises(PermissionError), segment.transaction():
                change(thing)
    for change in SEGMENT_CHANGES:
        with pytest.raises(ReadOnly):
            change(segment)


def test_all_can_be_read(segment):
    read_all(segment)


def test_nothing_can_be_changed(segment):
    change_all(segment)
    read_all(segment)


def test_live_memory_of_others_can_be_read_and_not_changed(live):
    with Segment("live", readonly=True) as segment:
        read_all(segment)
        change_all(segment)
        read_all(segment)


def test_locks_and_numbers_cannot_be_used(segment):
    for key in ("lock", "event", "semaphore", "number"):
        with pytest.raises(ReadOnly, match="readonly=True"):
            segment[key]


def test_views_of_arrays_cannot_write(segment):
    array = segment["array"]
    with memoryview(array) as view:
        assert view.readonly and view.tolist() == [0, 0, 0, 0]
        with pytest.raises(TypeError):
            view[0] = 1
    assert array.readonly
    with pytest.raises(ReadOnly):
        _ = array.lock
    array.close()


def test_it_sees_what_others_change(live):
    with Segment("live", readonly=True) as segment, segment["map"] as things:
        live.say("segment['map'].update({5: 'five', 'large': 'w' * 9000})")
        live.expect("done")
        assert things[5] == "five" and things["large"] == "w" * 9000
        live.say("segment.destroy('deque')")
        live.expect("done")
        assert segment.find("deque") is None and segment.check() == []


def test_it_undoes_what_a_killed_writer_left(live):
    with Child("""
segment = ipcsys.Segment("live", create=False)
with segment.transaction():
    segment["map"][1] = "half done"
    say("inside")
    hear()
""") as writer, Segment("live", readonly=True) as segment:
        writer.expect("inside")
        writer.kill()
        assert segment["map"][1] == "one" and segment.check() == []
        with pytest.raises(ReadOnly):
            segment["map"][1] = 2


def test_one_process_has_it_open_one_way_at_a_time(live):
    with Segment("live") as writing:
        assert writing.readonly is False
        with pytest.raises(InUse, match="open to write"):
            Segment("live", readonly=True)
    with Segment("live", readonly=True), Segment("live", readonly=True):
        with pytest.raises(InUse, match="open to read only"):
            Segment("live")


def test_a_copy_of_a_file_is_of_the_last_flush_and_ones_own(path):
    before = path.read_bytes()
    with Segment(path=path, readonly=True) as one, Segment(path=path, readonly=True) as other:
        assert one.name is None and other["map"] == one["map"]
        assert one.path == str(path)
        one.snapshot(path.with_suffix(".copy"))
    assert path.read_bytes() == before
    with Segment(path=path.with_suffix(".copy"), readonly=True) as copy:
        assert copy["string"] == "text"


def test_a_file_may_be_looked_at_while_it_is_open_elsewhere(tmp_path):
    path = tmp_path / "busy"
    with Segment(path=path, size="1 MiB") as segment:
        things = segment.construct(SharedMap, "m", {1: 1})
        segment.flush()
        things[1] = 2
        with Segment(path=path, readonly=True) as copy:
            assert copy["m"] == {1: 1}
        things.close()
    Segment.remove(path=path)


def test_files_that_others_could_have_written_are_refused(path):
    os.chmod(path, 0o666)
    with pytest.raises(AccessDenied, match="others may write"):
        Segment(path=path, readonly=True)
    if os.geteuid() == 0:
        os.chmod(path, 0o444)
        os.chown(path, 12345, -1)
        with pytest.raises(AccessDenied, match="belongs to user 12345"):
            Segment(path=path, readonly=True)
        os.chown(path, 0, -1)
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(AccessDenied, match="symbolic link"):
        Segment(path=link, readonly=True)
    with pytest.raises(FormatError):
        Segment(path="/dev/null", readonly=True)
    with pytest.raises(NotFound):
        Segment(path=path.with_name("none"), readonly=True)
    with pytest.raises(NotFound):
        Segment("none", readonly=True)


@pytest.mark.parametrize("wrong", [
    {}, {"name": "x", "path": "/tmp/x"}, {"name": "x", "create": True}, {"name": "x", "create": "new"},
    {"name": "x", "cleanup": "last"}, {"path": "/tmp/x", "autoflush": 1.0},
])  # fmt: skip
def test_senseless_combinations_are_refused(wrong):
    with pytest.raises(ValueError, match="readonly=True"):
        Segment(**wrong, readonly=True)
