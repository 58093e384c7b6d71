# SPDX-License-Identifier: Apache-2.0
"""Containers that stand in a SharedMap: reference semantics, ownership, the end of them."""

import collections
import copy
import datetime
import gc
import pickle
import subprocess
import sys
import threading

import pytest

import ipcsys
from ipcsys import ObjectGone, Segment, SharedDeque, SharedMap, SharedString, SharedVector


@pytest.fixture
def segment():
    with Segment("s", size="4 MiB", max_size="64 MiB") as segment:
        yield segment
        assert segment.closed or segment.check() == []


@pytest.fixture
def outer(segment):
    return segment.construct(SharedMap, "outer")


class Undo(Exception):
    pass


KINDS = {
    "map": (SharedMap, ({"a": 1, "b": 2},), {}, {"a": 1, "b": 2}),
    "vector": (SharedVector, ([1, 2],), {}, [1, 2]),
    "typed": (SharedVector, ([1.0, 2.0], "d"), {}, [1.0, 2.0]),
    "deque": (SharedDeque, ([1, 2],), {"maxlen": 5}, collections.deque([1, 2], maxlen=5)),
}
LARGE = {
    "map": (SharedMap, ({number: "x" * 300 for number in range(500)},)),
    "vector": (SharedVector, (["x" * 300] * 500,)),
    "typed": (SharedVector, (range(5000), "d")),
    "deque": (SharedDeque, (["x" * 300] * 500,)),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def construct(outer, key, kind):
    cls, args, kwargs, plain = KINDS[kind]
    return outer.construct(cls, key, *args, **kwargs), plain


def change(handle):
    """Something that each kind can do."""
    if isinstance(handle, SharedMap):
        handle["more"] = 5.0
    else:
        handle.append(5.0)


# --- made and read


def test_what_is_constructed_there_is_read_as_a_handle_on_the_same(outer, kind):
    made, plain = construct(outer, "k", kind)
    assert type(outer["k"]) is KINDS[kind][0] and made == outer["k"] == plain
    assert made.name is None and len(outer) == 1 and "k" in outer
    change(made)
    assert len(outer["k"]) == 3 and outer["k"] == made
    for handle in (outer.get("k"), outer.setdefault("k", 1), *outer.values(),
                   *dict(outer.items()).values(), outer.get_many(["k"])["k"]):  # fmt: skip
        assert type(handle) is KINDS[kind][0]
        change(handle)
    with outer.editing("k") as handle:
        change(handle)
    assert len(made.copy()) == len(outer["k"])
    assert outer.check() == [] and made.check() == []


def test_the_key_is_taken_or_found(outer, kind):
    made, _ = construct(outer, ("k", 1), kind)
    cls = KINDS[kind][0]
    with pytest.raises(ipcsys.AlreadyExists):
        outer.construct(cls, ("k", 1))
    change(made)
    assert outer.find_or_construct(cls, ("k", 1)) == made
    assert outer.find_or_construct(cls, 1.0) is not None and len(outer) == 2
    assert cls(name=("k", 1), segment=outer, create=False) == made
    with pytest.raises(ipcsys.NotFound):
        cls(name="none", segment=outer, create=False)
    with pytest.raises(ipcsys.MismatchError, match="not a Shared"):
        outer.find_or_construct(SharedVector if cls is SharedMap else SharedMap, ("k", 1))
    outer["plain"] = [1]
    with pytest.raises(ipcsys.MismatchError, match="copy"):
        outer.find_or_construct(cls, "plain")


def test_a_handle_is_refused_as_a_value_and_the_error_says_what_to_do(segment, outer, kind):
    made, _ = construct(outer, "k", kind)
    foreign = segment.construct(KINDS[kind][0], "named")
    for value in (made, foreign, KINDS[kind][0]()):
        for store in (
            lambda value=value: outer.__setitem__("other", value),
            lambda value=value: outer.insert("other", value),
            lambda value=value: outer.setdefault("other", value),
            lambda value=value: outer.update(other=value),
            lambda value=value: outer.update([("other", value)]),
            lambda value=value: outer.compare_and_set("k", 1, value),
            lambda value=value: SharedMap({"k": value}),
            lambda value=value: SharedVector([value]),
            lambda value=value: segment.construct(SharedDeque, "d").append(value),
        ):
            with pytest.raises(TypeError, match=r"construct\(.*copy\(\)"):
                store()
            segment.destroy("d")
    with pytest.raises(TypeError):
        outer["k"] = foreign
    assert outer == {"k": made}


def test_a_container_may_be_put_where_it_is(outer):
    made = outer.construct(SharedVector, "k", [1])
    outer["k"] = made
    outer["k"] += [2]
    outer["k"] *= 2
    assert made == [1, 2, 1, 2]
    outer.construct(SharedMap, "m", {1: 1})
    outer["m"] |= {2: 2}
    assert outer == {"k": [1, 2, 1, 2], "m": {1: 1, 2: 2}}


def test_copies_are_plain_all_the_way_down(outer):
    deep = outer.construct(SharedMap, "m", {"x": 1}).construct(SharedMap, "n")
    deep.construct(SharedDeque, "q", [1, "two"], maxlen=3)
    deep.construct(SharedVector, "v", [datetime.datetime(2026, 1, 1)])
    outer["plain"] = [1, {"a": 2}]
    want = {
        "m": {
            "x": 1,
            "n": {
                "q": collections.deque([1, "two"], maxlen=3),
                "v": [datetime.datetime(2026, 1, 1)],
            },
        },
        "plain": [1, {"a": 2}],
    }
    for plain in (outer.copy(), copy.copy(outer), copy.deepcopy(outer), outer | {}, {} | outer):
        assert plain == want and type(plain["m"]["n"]["q"]) is collections.deque
        assert type(plain["m"]) is dict and type(plain["m"]["n"]["v"]) is list
    assert outer == want and want == outer and not outer != want
    assert repr(outer) == (
        "SharedMap({'m': SharedMap({'x': 1, 'n': SharedMap({'q': SharedDeque([1, 'two'], maxlen=3)"
        ", 'v': SharedVector([datetime.datetime(2026, 1, 1, 0, 0)])})}), 'plain': [1, {'a': 2}]})"
    )
    assert SharedMap(outer) == want  # a copy of it all
    match outer:
        case {"m": {"n": {"q": queue}}}:
            assert queue.pop() == "two"
        case _:
            pytest.fail("no match")
    assert "SharedDeque" in outer._repr_html_() or "deque" in outer._repr_html_()


# --- ends


def ends():
    def delete(outer):
        del outer["k"]

    def overwrite(outer):
        outer["k"] = "plain"

    def update(outer):
        outer.update({number: number for number in range(100)}, k=1)

    def exchange(outer):
        assert outer.compare_and_set("k", outer["k"], 1)

    def destroy(outer):
        outer.segment.destroy("outer")

    return {
        "deleted": delete,
        "overwritten": overwrite,
        "overwritten by a large value": lambda outer: outer.__setitem__("k", b"x" * 9000),
        "updated": update,
        "popped": lambda outer: outer.pop("k"),
        "popped last": lambda outer: outer.popitem(),
        "cleared": lambda outer: outer.clear(),
        "exchanged": exchange,
        "destroyed": destroy,
    }


ENDS = ends()


class Outer(SharedMap):
    segment = None


def test_it_goes_with_its_entry_and_no_byte_is_lost(segment, kind):
    segment.construct(SharedMap, "outer")
    segment.destroy("outer")
    before = segment.stats()
    cls, args = LARGE[kind]
    for name, end in ENDS.items():
        outer = segment.construct(Outer, "outer")
        outer.segment = segment
        handle = outer.construct(cls, "k", *args)
        there = pickle.loads(pickle.dumps(handle))
        inside = handle.construct(SharedVector, "v", ["y" * 500] * 50) if cls is SharedMap else None
        end(outer)
        for gone in (handle, there, inside):
            if gone is not None:
                for use in (len, list, repr, change):
                    with pytest.raises(ObjectGone):
                        use(gone)
                gone.close()
        assert segment.check() == [], name
        segment.destroy("outer")
        outer.close()
        assert segment.check() == [], name
        after = segment.stats()
        assert (after.used, after.blocks) == (before.used, before.blocks), name


def test_popped_ones_come_back_as_copies(outer, kind):
    _, plain = construct(outer, "k", kind)
    outer.construct(SharedMap, "m").construct(SharedVector, "v", [1])
    assert outer.popitem() == ("m", {"v": [1]})
    popped = outer.pop("k")
    assert popped == plain and type(popped) is type(plain) and not outer
    with pytest.raises(KeyError):
        outer.pop("k")
    assert outer.pop("k", 7) == 7


def test_a_gone_one_is_never_taken_for_the_next_in_its_place(outer, kind):
    handles = []
    for _ in range(30):
        handle, plain = construct(outer, "k", kind)
        for old in handles:
            with pytest.raises(ObjectGone):
                change(old)
        assert outer["k"] == plain
        handles.append(handle)
        del outer["k"]


def test_compare_and_set_knows_one_container_from_another(outer):
    first = outer.construct(SharedVector, "k", [1])
    other = outer.construct(SharedVector, "o", [1])
    assert not outer.compare_and_set("k", other, 1)
    assert not outer.compare_and_set("k", SharedVector([1]), 1)
    assert not outer.compare_and_set("k", [1], 1)
    assert outer.compare_and_set("k", first, 1) and outer["k"] == 1
    assert not outer.compare_and_set("k", first, 2)


def test_increment_adds_to_what_a_container_gives(outer):
    outer.construct(SharedMap, "k")
    with pytest.raises(TypeError):
        outer.increment("k")
    assert outer["k"] == {}


def test_it_outlives_the_handle_on_the_outer_one(segment):
    alone = SharedMap({"a": 1})
    handle = alone.construct(SharedVector, "v", [1])
    alone.close()
    del alone
    gc.collect()
    handle.append(2)
    assert handle == [1, 2]
    outer = segment.construct(SharedMap, "m")
    handle = outer.construct(SharedVector, "v", [1])
    outer.close()
    assert handle == [1]
    handle.close()
    with pytest.raises(ipcsys.Closed):
        handle.append(1)
    with pytest.raises(ipcsys.Closed):
        outer.construct(SharedVector, "w")


@pytest.mark.parametrize("alone", [False, True])
def test_a_pickled_handle_leads_to_the_same(segment, kind, alone):
    outer = SharedMap() if alone else segment.construct(SharedMap, "outer")
    handle, plain = construct(outer, "k", kind)
    data = pickle.dumps(handle)
    there = pickle.loads(data)
    assert there == plain and type(there) is KINDS[kind][0]
    change(there)
    assert handle == there and len(outer["k"]) == 3
    data = pickle.dumps(handle)
    del outer["k"]
    with pytest.raises(ObjectGone):
        pickle.loads(data)
    construct(outer, "k", kind)
    with pytest.raises(ObjectGone):
        pickle.loads(data if not alone else pickle.dumps(handle))


# --- limits and bad input


def test_they_stand_in_each_other_thirty_two_deep(segment, outer):
    inner = outer
    for depth in range(32):
        inner = inner.construct(SharedMap, depth)
    with pytest.raises(ipcsys.TooLarge, match="32 deep"):
        inner.construct(SharedVector, "one too many")
    assert inner == {} and segment.check() == []
    plain = outer.copy()
    for depth in range(32):
        plain = plain[depth]
    assert plain == {} and repr(outer).count("SharedMap") == 33
    outer.clear()
    assert segment.check() == []


def test_what_cannot_stand_there_is_refused(segment, outer):
    class Tick(ipcsys.Record):
        price: float = 0.0

    for other in (ipcsys.SharedArray, ipcsys.Lock, Tick, dict, 5):
        with pytest.raises(TypeError):
            outer.construct(other, "k")
    for keywords in ({"create": "new"}, {"namespace": "n"}, {"cleanup": "last"}, {"max_size": 1 << 20}):
        with pytest.raises((ValueError, TypeError)):
            SharedVector(name="k", segment=outer, **keywords)
    with pytest.raises(ValueError):
        SharedVector(segment=outer)
    with pytest.raises(TypeError):
        outer.construct(SharedVector)
    with pytest.raises(TypeError):
        outer.construct(SharedVector, [])
    with pytest.raises(TypeError):
        outer.construct(SharedVector, "k", name="x")
    with pytest.raises(ipcsys.EncodeError):
        outer.construct(SharedVector, "k", [lambda: 0])  # encoded before anything is made
    assert outer == {}


def test_a_full_segment_refuses_a_container_and_is_as_before(segment):
    with Segment("small", size="256 KiB") as small:
        outer = small.construct(SharedMap, "outer", {"a": 1})
        before = small.stats().used
        with pytest.raises(ipcsys.SegmentFull):
            outer.construct(SharedVector, "k", ["x" * 1000] * 1000)
        assert outer == {"a": 1} and small.check() == [] and small.stats().used == before
        for _ in range(20):  # memory of those that went is there for the next
            outer.construct(SharedVector, "k", ["x" * 1000] * 100)
            del outer["k"]


SMALL = {
    "text": (ipcsys.SharedString, "text", lambda handle: handle.append("!"), "text!"),
    "bytes": (ipcsys.SharedBytes, b"by", lambda handle: handle.append(33), b"by!"),
    "cell": (ipcsys.SharedCell, [1], lambda handle: handle.store([1, 2]), [1, 2]),
    "int": (ipcsys.AtomicInt, 5, lambda handle: handle.add(1), 6),
    "float": (ipcsys.AtomicFloat, 1.5, lambda handle: handle.add(1), 2.5),
    "bool": (ipcsys.AtomicBool, False, lambda handle: handle.store(True), True),
}


@pytest.mark.parametrize("name", SMALL)
def test_texts_cells_and_numbers_stand_in_containers_too(segment, name):
    cls, value, change_it, after = SMALL[name]
    segment.construct(cls, "warm", value)
    segment.destroy("warm")  # chunks of cells stay their type's
    segment.construct(SharedMap, "outer")
    segment.destroy("outer")
    before = segment.stats()
    outer = segment.construct(SharedMap, "outer")
    made = outer.construct(cls, "k", value)
    there = pickle.loads(pickle.dumps(made))
    change_it(there)
    assert type(outer["k"]) is cls and outer.copy() == {"k": after} and outer == {"k": after}
    assert made.name is None and repr(made) in repr(outer) and outer.find_or_construct(cls, "k")
    outer["k"] = made
    row = outer.construct(SharedVector, "row")
    row.construct(cls, value)
    assert row.copy() == [value] and row.pop() == value
    with pytest.raises(TypeError, match="construct"):
        outer["other"] = made
    with pytest.raises(Undo), segment.transaction():
        outer.pop("k")
        raise Undo
    assert outer.pop("k") == after
    for gone in (made, there):
        with pytest.raises(ObjectGone):
            change_it(gone)
    made = outer.construct(cls, "k", value)
    outer.clear()
    with pytest.raises(ObjectGone):
        change_it(made)
    segment.destroy("outer")
    assert segment.check() == [] and segment.stats().used == before.used


def test_a_number_in_a_map_is_added_to_in_place(outer):
    hits = outer.construct(ipcsys.AtomicInt, "hits")
    outer["hits"] += 2
    assert hits == 2 and outer["hits"].add(1) == 3
    outer.construct(ipcsys.SharedString, "text", "a")
    outer["text"] += "b"
    assert outer == {"hits": 3, "text": "ab"}


def test_the_memory_of_those_gone_in_a_transaction_comes_back_when_it_ends(segment, outer):
    outer.construct(SharedMap, "warm")
    outer.clear()
    outer["a"] = 1
    before = segment.stats().used
    handle = outer.construct(SharedMap, "k", {number: "x" * 100 for number in range(2000)})
    with segment.transaction():
        del outer["k"]
        with pytest.raises(ObjectGone):
            handle["a"] = 1
        assert segment.stats().used > before + 2000 * 100
    assert segment.stats().used <= before + 64 and segment.check() == []


# --- transactions


def test_undone_with_the_rest(segment, outer, kind):
    kept, plain = construct(outer, "kept", kind)
    with pytest.raises(Undo), segment.transaction():
        made, _ = construct(outer, "new", kind)
        change(made)
        change(kept)
        outer.clear()
        with pytest.raises(ObjectGone):
            len(kept)
        construct(outer, "kept", kind)
        raise Undo
    assert kept == plain and outer == {"kept": plain}
    with pytest.raises(ObjectGone):
        change(made)
    with segment.transaction():
        with pytest.raises(Undo), segment.transaction():
            del outer["kept"]
            raise Undo
        change(kept)
    assert len(kept) == 3
    assert segment.check() == []


def test_readers_in_one_process_meet_only_living_ones(outer):
    """A container is replaced again and again while others read it and list it."""
    stop = threading.Event()
    failures = []

    def read():
        try:
            while not stop.is_set():
                handle = outer.get("k")
                if handle is not None:
                    try:
                        assert handle.copy() in ([1, 2], [1, 2, 3])
                    except ObjectGone:
                        pass
                assert outer.copy() in ({}, {"k": [1, 2]}, {"k": [1, 2, 3]})
                assert len(list(outer.items())) <= 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(300):
        outer.construct(SharedVector, "k", [1, 2]).append(3)
        if number % 3 == 0:
            outer.clear()
        elif number % 3 == 1:
            assert outer.pop("k") == [1, 2, 3]
        else:
            outer["k"] = [1, 2]
            del outer["k"]
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


# --- with the rest of what a segment can


def test_a_view_of_one_moment_goes_into_them(segment, outer):
    outer.construct(SharedVector, "k", [1])
    outer.construct(SharedMap, "m").construct(SharedVector, "v", [2])
    want = {"k": [1], "m": {"v": [2]}}
    with segment.read():
        assert outer.copy() == want and outer["k"][0] == 1 and "[2]" in repr(outer)
        with pytest.raises(ipcsys.TransactionError):
            outer.construct(SharedMap, "new")
    for view in segment.read():
        with view:
            seen = outer.copy(), list(outer.values()), outer.get_many(["k"])
    assert seen == (want, [[1], {"v": [2]}], {"k": [1]})


def test_they_take_their_memory_where_the_outer_one_does(segment):
    arena = segment.arena()
    outer = segment.construct(SharedMap, "outer", allocator=arena)
    empty = arena.used
    row = outer.construct(SharedVector, "row", ["x" * 100] * 100)
    outer.construct(SharedMap, "map").construct(SharedString, "text", "t" * 500)
    taken = arena.used
    row.extend(["y" * 300] * 100)
    assert empty < taken < arena.used
    del outer["row"]
    outer.pop("map")
    segment.destroy("outer")
    assert segment.check() == [] and arena.used == 0


def test_a_snapshot_of_the_segment_holds_them(segment, outer, tmp_path):
    outer.construct(SharedVector, "row", [1, "x" * 500])
    outer.construct(ipcsys.AtomicInt, "hits", 5)
    outer.construct(SharedMap, "map").construct(SharedDeque, "queue", [1], maxlen=2)
    want = outer.copy()
    segment.snapshot(tmp_path / "image")
    outer.clear()
    with Segment(path=tmp_path / "image", namespace="elsewhere") as other:
        found = other["outer"]
        assert found == want and other.check() == []
        found["hits"] += 1
        found["map"]["queue"].extend([2, 3])
        del found["row"]
        assert found == {"hits": 6, "map": {"queue": collections.deque([2, 3], maxlen=2)}}
        assert other.check() == []
        found.close()


def test_a_handle_travels_through_a_queue_and_no_message_can_be_a_reference(segment, outer):
    row = outer.construct(SharedVector, "row", [1])
    with ipcsys.Queue() as queue:
        queue.put([row])
        (there,) = queue.get()
        there.append(2)
    assert row == [1, 2]
    with pytest.raises(ipcsys.DecodeError):
        ipcsys._core.decode_value(5, bytes(24))


@pytest.mark.parametrize("kind", ["deque", "cell", "int"])
def test_one_who_waits_on_it_hears_that_it_went(outer, kind):
    if kind == "deque":
        handle = outer.construct(SharedDeque, "k")
    else:
        handle = outer.construct(SMALL[kind][0], "k", 5)
    heard = []

    def wait():
        try:
            heard.append(handle.popleft(timeout=20) if kind == "deque" else handle.wait(5, 20))
        except ObjectGone as error:
            heard.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiter.join(0.05)  # it waits now, most likely
    outer.clear()
    waiter.join(15)
    assert not waiter.is_alive() and isinstance(heard[0], ObjectGone)


LOOK = """
import sys, ipcsys
segment = ipcsys.Segment("s", readonly=True)
outer = segment["outer"]
print(outer.copy(), outer["row"][0], len(list(outer["map"].values())))
for change in (lambda: outer.pop("row"), lambda: outer.construct(ipcsys.SharedMap, "new")):
    try:
        change()
    except ipcsys.ReadOnly:
        print("refused")
"""


def test_they_are_read_where_nothing_can_be_changed(segment, outer):
    outer.construct(SharedVector, "row", [1])
    outer.construct(ipcsys.AtomicInt, "hits", 2)
    outer.construct(SharedMap, "map").construct(SharedVector, "v", [3])
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=30)
    want = "{'row': [1], 'hits': 2, 'map': {'v': [3]}} 1 1\nrefused\nrefused\n"
    assert done.stdout == want, done.stderr
