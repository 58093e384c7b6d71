# SPDX-License-Identifier: Apache-2.0
"""SharedString, SharedBytes and SharedCell in one process."""

import copy
import datetime
import math
import pickle
import threading
import time

import pytest

import ipcsys
from ipcsys import ObjectGone, Segment, SharedBytes, SharedCell, SharedString

TEXT = "Grüße, \U0001f600 und mehr\n"


def test_text_reads_as_the_str_it_holds():
    shared = SharedString(None, TEXT)
    assert str(shared) == TEXT == shared and len(shared) == len(TEXT) and bool(shared)
    assert repr(shared) == f"SharedString({TEXT!r})" and f"{shared:>40}" == f"{TEXT:>40}"
    assert list(shared) == list(TEXT) and "und" in shared and SharedString(None, "ü") in shared
    assert shared != "x" and shared < "H" and "H" > shared and shared <= SharedString(None, TEXT)
    assert shared + "x" == TEXT + "x" and "x" + shared == "x" + TEXT and shared * 2 == 2 * shared
    assert shared + shared == TEXT * 2 and SharedString(None, "%s-%d") % ("a", 3) == "a-3"
    assert copy.copy(shared) == copy.deepcopy(shared) == TEXT and type(copy.copy(shared)) is str
    for start in (None, 0, 3, -4, 99, -99):
        for step in (None, 2, -1, -3):
            assert shared[start::step] == TEXT[start::step]
    for index in range(-len(TEXT), len(TEXT)):
        assert shared[index] == TEXT[index]
    with pytest.raises(TypeError):
        hash(shared)
    for wrong in (1, b"x", None):
        with pytest.raises(TypeError):
            shared + wrong
        with pytest.raises(TypeError):
            wrong in shared  # noqa: B015
        assert shared != wrong
    for index in (99, -99):
        with pytest.raises(IndexError):
            shared[index]


def test_every_method_of_str_gives_what_str_gives():
    arguments = {
        "center": (40, "*"), "count": ("e",), "endswith": ("\n",), "find": ("u", 3),
        "format": (), "format_map": ({},), "index": ("u",), "join": (["a", "b"],),
        "ljust": (40,), "partition": (",",), "removeprefix": ("Gr",), "removesuffix": ("\n",),
        "replace": ("e", "E"), "rfind": ("e",), "rindex": ("e",), "rjust": (40,),
        "rpartition": (" ",), "startswith": (("x", "G"),), "translate": ({ord("e"): "3"},),
        "zfill": (40,),
    }  # fmt: skip
    shared = SharedString(None, TEXT)
    for name in dir(str):
        if not name.startswith("_") and name != "maketrans":
            given = arguments.get(name, ())
            assert getattr(shared, name)(*given) == getattr(TEXT, name)(*given), name
    assert shared.split(sep=",", maxsplit=1) == TEXT.split(sep=",", maxsplit=1)
    assert shared.replace(SharedString(None, "e"), SharedString(None, "E")) == TEXT.replace("e", "E")
    assert SharedString(None, "{0}{8}{x}").format(*range(9), x=1) == "081"
    with pytest.raises(TypeError):
        shared.upper(1)
    with pytest.raises(ValueError):
        shared.index("nowhere")


def test_text_changes_in_place():
    shared = SharedString(None, "abc")
    assert shared.append("déf") is None and shared == "abcdéf"
    same = shared
    shared += "\U0001f600"
    shared += SharedString(None, "!")
    assert shared is same and shared == "abcdéf\U0001f600!"
    shared[0] = "A"
    shared[-1] = "?"
    shared[1:3] = "longer than that"
    assert shared == "Alonger than thatdéf\U0001f600?"
    shared[::2] = "." * len(shared[::2])
    del shared[0]
    del shared[1:]
    assert shared == "l"
    shared.insert(0, "<")
    shared.insert(99, ">")
    shared.insert(-1, "x")
    assert shared == "<lx>" and shared.set("new") is None and shared == "new"
    for act, error in (
        (lambda: shared.__setitem__(0, "xy"), ValueError), (lambda: shared.__setitem__(9, "x"), IndexError),
        (lambda: shared.__setitem__(slice(None, None, 2), "x"), ValueError),
        (lambda: shared.__setitem__("0", "x"), TypeError), (lambda: shared.append(1), TypeError),
        (lambda: shared.set(b"x"), TypeError), (lambda: shared.insert("x"), TypeError),
        (lambda: shared.insert("0", "x"), TypeError), (lambda: shared.__iadd__(1), None),
        (lambda: shared.__delitem__(7), IndexError), (lambda: SharedString(None, 5), TypeError),
    ):  # fmt: skip
        if error is None:
            assert act() is NotImplemented
        else:
            with pytest.raises(error):
                act()
    assert shared == "new" and shared.clear() is None and shared == "" and len(shared) == 0
    assert shared.check() == []


def test_lone_surrogates_are_text_too():
    shared = SharedString(None, "a\ud800b")
    assert shared == "a\ud800b" and shared[1] == "\ud800"


def test_bytes_read_and_change_as_a_bytearray():
    shared, model = SharedBytes(None, b"abc"), bytearray(b"abc")
    assert shared == b"abc" == bytes(shared) and shared == model and shared[1] == 98
    assert shared[1:] == b"bc" and type(shared[1:]) is bytes and list(shared) == [97, 98, 99]
    assert b"bc" in shared and 97 in shared and 3 not in shared and shared < b"b"
    assert shared + b"x" == b"abcx" and shared * 2 == b"abcabc" and shared.hex() == "616263"
    assert shared.upper() == b"ABC" and shared.split(b"b") == [b"a", b"c"] and shared.find(98) == 1
    assert repr(shared) == "SharedBytes(b'abc')" and SharedBytes(None, b"%d") % 3 == b"3"
    for work in (
        lambda b: b.append(100), lambda b: b.extend(b"ef"), lambda b: b.extend([1, 2]),
        lambda b: b.insert(1, 9), lambda b: b.pop(), lambda b: b.pop(0), lambda b: b.remove(9),
        lambda b: b.reverse(), lambda b: b.__setitem__(0, 7), lambda b: b.__delitem__(1),
        lambda b: b.__setitem__(slice(1, 2), b"long enough"), lambda b: b.__delitem__(slice(0, 9, 2)),
        lambda b: b.__setitem__(slice(0, 4, 2), b"xy"), lambda b: b.__iadd__(b"tail"),
        lambda b: b.__imul__(2),
    ):  # fmt: skip
        mine, theirs = work(shared), work(model)
        assert shared == bytes(model) and (mine == theirs or mine is shared)
    for act, error in (
        (lambda: shared.append(256), ValueError), (lambda: shared.append("a"), TypeError),
        (lambda: shared.extend("text"), TypeError), (lambda: shared.extend([1, 300]), ValueError),
        (lambda: shared.__setitem__(0, -1), ValueError), (lambda: shared.pop(99), IndexError),
        (lambda: shared.remove(255), ValueError), (lambda: hash(shared), TypeError),
        (lambda: shared.insert(0), TypeError), (lambda: SharedBytes(None, "text"), TypeError),
        (lambda: shared.__setitem__(slice(0, 4, 2), b"x"), ValueError),
    ):  # fmt: skip
        with pytest.raises(error):
            act()
    assert shared == bytes(model) and shared.check() == []
    shared.set(b"new")
    assert shared == b"new" and shared.clear() is None and len(shared) == 0


VALUES = [
    None, True, 3, 2**80, 1.5, "text", b"bytes" * 300, (1, (2,)), [1, [2]], {"a": {1: 2}}, {1, 2},
    frozenset({3}), datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.timezone.utc),
    datetime.date(2026, 5, 1), complex(1, 2),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_cell_gives_back_any_value(value):
    cell = SharedCell(value)
    assert cell.load() == cell.value == value and type(cell.load()) is type(value)
    assert cell.exchange("other") == value and cell.compare_exchange("other", value)
    assert not cell.compare_exchange("other", 0) and cell.load() == value
    assert not cell.wait(value, 0) and cell.wait("other", 0)
    cell.value = 7
    assert cell.load() == 7 and cell.check() == [] and repr(cell) == "SharedCell(7)"


def test_values_of_a_cell_are_the_same_where_their_encodings_are():
    cell = SharedCell(1)
    assert not cell.compare_exchange(1.0, 2) and not cell.compare_exchange(True, 2)
    assert cell.compare_exchange(1, math.nan) and cell.compare_exchange(math.nan, 2)
    with pytest.raises(AttributeError):
        del cell.value
    with pytest.raises(TypeError):
        cell.compare_exchange(1)
    with pytest.raises(ipcsys.EncodeError):
        cell.store(lambda: 0)
    assert cell.load() == 2 and SharedCell().load() is None


def test_who_waits_on_a_cell_hears_of_a_change_and_of_its_end():
    segment = Segment(None)
    cell = segment.construct(SharedCell, "c", "old")
    answers = []

    def wait():
        try:
            answers.append(cell.wait("old", 60))
        except ipcsys.Error as error:
            answers.append(type(error))

    def heard(*acts):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        for act in acts:
            act()
        thread.join(10)
        return answers.pop()

    assert heard(lambda: cell.store("new"), cell.notify) is True
    cell.store("old")
    assert heard(lambda: cell.store("new")) is True  # nobody told; the bound did
    cell.store("old")
    assert heard(lambda: segment.destroy("c")) is ObjectGone
    cell = segment.construct(SharedCell, "c", "old")
    assert heard(cell.close) is ipcsys.Closed
    cell = segment["c"]
    with segment.transaction(), pytest.raises(ipcsys.TransactionError):
        cell.wait("old", 1)
    with segment.transaction():
        assert cell.wait("new", 1) and not cell.wait("old", 0)
    for act, error in ((lambda: cell.notify(-1), ValueError), (lambda: cell.wait(), TypeError),
                       (lambda: cell.wait(1, math.nan), ValueError)):  # fmt: skip
        with pytest.raises(error):
            act()


KINDS = [(SharedString, "text", "other"), (SharedBytes, b"data", b"other"), (SharedCell, [1], {2})]


def plain(shared):
    return shared.load() if isinstance(shared, SharedCell) else shared.copy()


def put(shared, value):
    (shared.store if isinstance(shared, SharedCell) else shared.set)(value)


@pytest.mark.parametrize(("kind", "value", "other"), KINDS)
def test_each_stands_alone_by_name_and_in_a_segment(kind, value, other):
    def made(name):
        return kind(value, name=name) if kind is SharedCell else kind(name, value)

    with made("n") as first, made("n") as second:
        assert plain(first) == plain(second) == value and first.name == "n"
        put(second, other)
        assert plain(first) == other
        with pytest.raises(ipcsys.MismatchError):
            ipcsys.SharedMap(name="n")
    assert first.closed and repr(first) == f"<closed {kind.__name__}>"
    for act in (first.check, lambda: plain(first), lambda: put(first, value)):
        with pytest.raises(ipcsys.Closed):
            act()
    kind.remove("n")
    unnamed = made(None)
    assert plain(pickle.loads(pickle.dumps(unnamed))) == value


@pytest.mark.parametrize(("kind", "value", "other"), KINDS)
def test_in_a_segment_it_takes_part_in_transactions_and_leaves_nothing(kind, value, other):
    segment = Segment(None, "1 MiB")
    segment.construct(kind, "warm", value)
    segment.destroy("warm")
    used = segment.stats().used
    shared = segment.construct(kind, "k", value)
    assert type(segment["k"]) is kind and plain(segment["k"]) == value
    assert plain(pickle.loads(pickle.dumps(shared))) == value
    with pytest.raises(LookupError), segment.transaction():
        put(shared, other)
        assert plain(shared) == other
        raise LookupError
    assert plain(shared) == value and segment.check() == shared.check() == []
    with segment.transaction():
        put(shared, other)
    assert plain(segment.find_or_construct(kind, "k")) == other
    large = "x" * 100_000 if kind is not SharedBytes else b"x" * 400_000
    with pytest.raises(ipcsys.SegmentFull):
        for size in range(1, 99):
            put(shared, large * size)
    assert segment.check() == []
    segment.destroy("k")
    assert segment.stats().used == used
    for act in (lambda: plain(shared), lambda: put(shared, value), shared.check):
        with pytest.raises(ObjectGone):
            act()


def test_threads_that_append_lose_nothing():
    shared = SharedString(None)

    def work(letter):
        for _ in range(300):
            shared.append(letter)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(shared) == sorted("abc" * 300)
