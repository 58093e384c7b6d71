# SPDX-License-Identifier: Apache-2.0
"""Segments in files: what path=, flush() and snapshot() promise in one process."""

import os
import threading
import time

import pytest

import ipcsys
from ipcsys import Segment, SharedMap, errors

PAGE = 4096


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.ipcsys"


def reboot(segment):
    """What a power cut does to live memory: gone, whatever was in it."""
    name = segment.name
    segment.close()
    Segment.remove(name)


def fill(segment, **values):
    with segment.find_or_construct(SharedMap, "values") as values_of:
        values_of.update(values)


def read(segment):
    with segment["values"] as values_of:
        return dict(values_of)


def test_a_flushed_state_is_there_after_the_live_memory_is_gone(path):
    segment = Segment(path=path)
    fill(segment, a=1, b="x" * 10_000)
    assert segment.flush() > 0
    fill(segment, a=2)
    reboot(segment)
    with Segment(path=path, create=False) as again:
        assert read(again) == {"a": 1, "b": "x" * 10_000}
        assert again.check() == []


def test_what_was_not_flushed_is_there_as_long_as_the_live_memory_is(path):
    with Segment("orders", path=path) as segment:
        fill(segment, a=1)
    with Segment("orders", path=path) as again:
        assert read(again) == {"a": 1}


def test_a_file_that_was_never_flushed_gives_an_empty_segment(path):
    segment = Segment(path=path, size="128 KiB", max_size="1 MiB")
    fill(segment, a=1)
    sizes = segment.stats().size, segment.stats().max_size
    reboot(segment)
    with Segment(path=path, size="9 MiB") as again:
        assert list(again) == []
        assert (again.stats().size, again.stats().max_size) == sizes == (1 << 17, 1 << 20)


def test_a_flush_writes_what_changed_and_nothing_where_nothing_did(path):
    with Segment(path=path, size="16 MiB") as segment:
        fill(segment, **{f"key {i}": os.urandom(1000).hex() for i in range(3000)})
        whole = segment.flush()
        assert whole > 6_000_000
        assert segment.flush() == 0
        fill(segment, small=1)
        assert 0 < segment.flush() < whole / 20


def test_the_file_reuses_its_pages(path):
    with Segment(path=path, size="4 MiB") as segment:
        for i in range(30):
            fill(segment, big=os.urandom(500_000), number=i)
            segment.flush()
        assert path.stat().st_size < 4 * 1_000_000


def test_a_segment_that_grew_comes_back_as_large(path):
    segment = Segment(path=path, size="64 KiB", max_size="8 MiB")
    segment.flush()
    fill(segment, big=os.urandom(3_000_000))
    segment.flush()
    values = read(segment)
    reboot(segment)
    with Segment(path=path) as again:
        assert read(again) == values
        assert again.check() == []
        fill(again, more=os.urandom(1_000_000))
        assert again.check() == []


def test_no_open_transaction_gets_into_the_file(path):
    segment = Segment(path=path)
    fill(segment, a=1)
    with segment["values"] as values:
        with segment.transaction():
            values["a"] = 2
            with pytest.raises(errors.TransactionError, match="half of the open transaction"):
                segment.flush()
        segment.flush()
        with segment.transaction():
            values["a"] = 3
            failure = []

            def flush():
                try:
                    segment.flush(timeout=0.05)
                except errors.Timeout as error:
                    failure.append(error)

            other = threading.Thread(target=flush)
            other.start()
            other.join(10)
            assert failure
    reboot(segment)
    with Segment(path=path) as again:
        assert read(again) == {"a": 2}


def test_objects_that_processes_wait_on_come_back_free(path):
    segment = Segment(path=path, size="2 MiB")
    make = segment.construct
    held = [make(ipcsys.Lock, "lock"), make(ipcsys.RLock, "rlock"), make(ipcsys.RWLock, "rwlock")]
    held[0].acquire()
    held[1].acquire()
    held[2].write().__enter__()
    guards, counts = make(ipcsys.Semaphore, "guards", 2), make(ipcsys.Semaphore, "counts", 0)
    guards.acquire()
    counts.release(3)
    event, number = make(ipcsys.Event, "event"), make(ipcsys.AtomicInt, "number", 5)
    event.set()
    barrier, condition = make(ipcsys.Barrier, "barrier", 2), make(ipcsys.Condition, "condition")
    condition.acquire()
    segment.flush()
    for one in (*held, guards, counts, event, number, barrier, condition):
        one.close()
    reboot(segment)
    with Segment(path=path) as again:
        for lock in (again["lock"], again["rlock"]):
            assert lock.acquire(timeout=1)
            assert lock.abandoned
            lock.release()
        with again["rwlock"].read(timeout=1):
            assert again["rwlock"].abandoned
        assert (again["guards"].value, again["counts"].value) == (2, 3)
        assert again["event"].is_set() and again["number"].load() == 5
        assert again["condition"].acquire(timeout=1)
        again["condition"].release()
        assert again["barrier"].n_waiting == 0 and not again["barrier"].broken
        assert again.check() == []


def test_a_snapshot_is_a_segment_of_its_own(path, tmp_path):
    copy = tmp_path / "copy.ipcsys"
    with Segment("plain") as segment:
        assert segment.path is None
        fill(segment, a=1)
        assert segment.snapshot(copy) > 0
        with pytest.raises(errors.AlreadyExists, match=r"copy\.ipcsys"):
            segment.snapshot(copy)
        fill(segment, a=2)
        with Segment(path=copy) as other:
            assert read(other) == {"a": 1}
            assert other.path == str(copy)
            fill(other, a=3)
            other.flush()
        assert read(segment) == {"a": 2}
    Segment.remove("plain")


def test_a_copied_or_moved_file_is_known_for_what_it_is(path, tmp_path):
    segment = Segment("first", path=path)
    fill(segment, a=1)
    segment.flush()
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    with Segment(path=copy) as other:
        assert other.name != "first"
        fill(other, a=2)
        assert read(segment) == {"a": 1}
    moved = tmp_path / "moved"
    path.rename(moved)
    with pytest.raises(errors.NotFound, match=r"state\.ipcsys"):
        segment.flush()
    with Segment(path=moved) as same:
        assert same.name == "first"
        assert segment.path == str(moved)
    fill(segment, a=3)
    assert segment.flush() > 0
    moved.replace(path)
    copy.replace(moved)
    with pytest.raises(errors.ObjectGone, match="no longer"):
        segment.flush()


def test_create_is_about_the_file(path):
    with pytest.raises(errors.NotFound, match=r"state\.ipcsys"):
        Segment(path=path, create=False)
    with Segment(path=path, create=True) as segment:
        with pytest.raises(errors.AlreadyExists, match=r"state\.ipcsys"):
            Segment(path=path, create=True)
        with pytest.raises(errors.InUse):
            Segment(path=path, create="new")
        fill(segment, a=1)
        segment.flush()
    with Segment(path=path, create="new") as segment:
        assert list(segment) == []


def test_only_removing_the_path_removes_the_file(path):
    with Segment("mine", path=path) as segment:
        fill(segment, a=1)
        segment.flush()
        with pytest.raises(errors.InUse):
            Segment.remove(path=path)
    Segment.remove("mine")
    assert path.exists()
    Segment(path=path).close()
    Segment.remove(path=path)
    assert not path.exists()
    with pytest.raises(errors.NotFound):
        Segment.remove(path=path)
    with pytest.raises(TypeError):
        Segment.remove()


def test_one_file_lives_in_one_namespace_under_one_name(path):
    with Segment("one", path=path) as segment:
        with pytest.raises(errors.MismatchError, match="open as 'one', not as 'two'"):
            Segment("two", path=path)
        with pytest.raises(errors.InUse, match="lives in the namespace"):
            Segment("one", path=path, namespace="elsewhere")
        with pytest.raises(errors.InUse, match="lives in the namespace"):
            Segment.remove(path=path, namespace="elsewhere")
        fill(segment, a=1)
        segment.flush()
    Segment.remove("one")
    with Segment("two", path=path, namespace="elsewhere") as segment:
        assert read(segment) == {"a": 1}


def test_a_name_that_is_another_segments_is_refused(path):
    with Segment("taken"), pytest.raises(errors.MismatchError, match="not the memory of the file"):
        Segment("taken", path=path)
    Segment.remove("taken")


def test_hard_links_are_refused(path, tmp_path):
    Segment(path=path).close()
    os.link(path, tmp_path / "second")
    with pytest.raises(errors.AccessDenied, match="2 names"):
        Segment(path=path)


def test_what_is_not_a_segments_file_is_refused_by_name(path, tmp_path):
    path.write_bytes(b"text " * 10_000)
    path.chmod(0o600)
    with pytest.raises(errors.FormatError, match=r"state\.ipcsys' is not a file of ipcsys"):
        Segment(path=path)
    with pytest.raises(errors.FormatError):
        Segment.remove(path=path)
    assert path.exists()
    path.write_bytes(b"short")
    with pytest.raises(errors.FormatError, match="too short"):
        Segment(path=path)
    with pytest.raises(errors.Error, match=str(tmp_path.name)):
        Segment(path=tmp_path)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(errors.AccessDenied, match="symbolic link"):
        Segment(path=link)
    with pytest.raises(errors.NotFound, match="nowhere"):
        Segment(path=tmp_path / "nowhere" / "file")
    open_to_all = tmp_path / "open"
    Segment(path=open_to_all).close()
    open_to_all.chmod(0o644)
    with pytest.raises(errors.AccessDenied, match="open to others"):
        Segment(path=open_to_all)
    with pytest.raises(errors.InvalidName):
        Segment(path=tmp_path / ("x" * 4000))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(path):
    Segment(path=path).close()
    os.chown(path, 12345, -1)
    with pytest.raises(errors.AccessDenied, match="belongs to user 12345"):
        Segment(path=path)


def spoil(path, at, bytes_):
    data = bytearray(path.read_bytes())
    for slot in (0, PAGE):
        data[slot + at : slot + at + len(bytes_)] = bytes_
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("at", "bytes_", "error", "text"),
    [
        (8, b"\x01\x02\x03\x04", errors.FormatError, "byte order"),
        (12, b"\x04\x00", errors.MismatchError, "not a segment's file"),
        (14, b"\x63\x00", errors.FormatError, "has format 99, this version of ipcsys reads 1"),
        (28, b"\x01\x00", errors.FormatError, "has format"),
        (150, b"\xff", errors.CorruptionError, "neither of its heads is whole"),
    ],
)
def test_a_file_of_another_format_or_a_broken_one_is_refused(path, at, bytes_, error, text):
    segment = Segment(path=path)
    segment.flush()
    reboot(segment)
    spoil(path, at, bytes_)
    with pytest.raises(error, match=text):
        Segment(path=path)


def test_a_file_cut_short_or_with_a_flipped_bit_is_refused(path):
    segment = Segment(path=path)
    fill(segment, a="x" * 20_000)
    segment.flush()
    reboot(segment)
    data = path.read_bytes()
    path.write_bytes(data[: -2 * PAGE])
    with pytest.raises(errors.CorruptionError, match="cut short"):
        Segment(path=path)
    refused = 0
    for at in range(3 * PAGE, len(data), PAGE):
        broken = bytearray(data)
        broken[at + 77] ^= 1
        path.write_bytes(broken)
        try:
            reboot(Segment(path=path))
        except errors.CorruptionError as error:
            assert "state.ipcsys" in str(error)
            refused += 1
    assert refused > 5  # all but pages that the image does not use
    path.write_bytes(data)
    with Segment(path=path) as again:
        assert read(again) == {"a": "x" * 20_000}


def test_a_segment_without_a_file_says_so(path):
    with Segment() as segment, pytest.raises(errors.MismatchError, match="made without path="):
        segment.flush()


def test_bad_arguments(path):
    with pytest.raises(ValueError, match="exclude each other"):
        Segment(path=path, cleanup="last")
    for autoflush in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="autoflush"):
            Segment(path=path, autoflush=autoflush)
    with pytest.raises(ValueError, match="needs path="):
        Segment("x", autoflush=1)
    with pytest.raises(TypeError):
        Segment(path=5)
    with Segment(path=path) as segment:
        with pytest.raises(ValueError, match="negative"):
            segment.flush(max_age=-1)
        with pytest.raises(ValueError, match="negative"):
            segment.flush(timeout=-1)


def test_max_age_leaves_a_young_file_alone(path):
    with Segment(path=path) as segment:
        segment.flush()
        fill(segment, a=1)
        assert segment.flush(max_age=60) == 0
        assert segment.flush(max_age=0) > 0


def test_autoflush_keeps_the_file_young_and_ends_with_the_segment(path):
    segment = Segment(path=path, autoflush=0.05)
    fill(segment, a=1)
    thread = next(t for t in threading.enumerate() if t.name.endswith(segment.name))
    before = path.stat().st_size
    deadline = time.monotonic() + 10
    while path.stat().st_size <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    reboot(segment)
    thread.join(10)
    assert not thread.is_alive()
    with Segment(path=path) as again:
        assert read(again) == {"a": 1}
