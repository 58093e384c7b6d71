# SPDX-License-Identifier: Apache-2.0
"""AtomicInt, AtomicFloat, AtomicBool: steps, manners, waits, handles, bad input, in one process."""

import asyncio
import math
import pickle
import threading
import time

import pytest

import ipcsys
from ipcsys import AtomicBool, AtomicFloat, AtomicInt, Segment, aio

TOP, BOTTOM = 2**63 - 1, -(2**63)


def test_each_step_gives_what_it_says():
    number = AtomicInt(5)
    assert number.value == number.load() == 5
    assert number.add(3) == 8 and number.add() == 9 and number.sub(2) == 7 and number.sub() == 6
    assert number.fetch_add(4) == 6 and number.fetch_sub(1) == 10 and number.fetch_add() == 9
    assert number.exchange(-1) == 10 and number.exchange(0) == -1
    assert number.compare_exchange(1, 2) is False and number.compare_exchange(0, 7) is True
    assert number.store(1) is None and number.value == 1
    number.value = 3
    number += 4
    number -= 2
    assert type(number) is AtomicInt and number.load() == 5


def test_it_wraps_at_64_bits():
    number = AtomicInt(TOP)
    assert number.add(1) == BOTTOM and number.sub(1) == TOP
    assert AtomicInt(BOTTOM).sub(BOTTOM) == 0
    assert AtomicInt(0).sub(BOTTOM) == BOTTOM


def test_it_has_the_manners_of_a_number():
    number = AtomicInt(5)
    assert int(number) == 5 and bool(number) and not AtomicInt() and [0] * number == [0] * 5
    assert number == 5 and number != 6 and number < 6 and number >= AtomicInt(5) and number > 4.5
    assert number != "5" and repr(number) == "AtomicInt(5)"
    with pytest.raises(TypeError):
        hash(number)
    with pytest.raises(TypeError):
        number < "6"  # noqa: B015
    with pytest.raises(TypeError):
        number += "1"


@pytest.mark.parametrize(
    ("value", "error"),
    [(TOP + 1, OverflowError), (BOTTOM - 1, OverflowError), ("1", TypeError), (1.0, TypeError),
     (None, TypeError)],
)  # fmt: skip
def test_odd_numbers_are_refused_and_change_nothing(value, error):
    number = AtomicInt(5)
    for use in (
        number.add,
        number.sub,
        number.store,
        number.exchange,
        number.fetch_add,
        lambda value: number.compare_exchange(5, value),
        lambda value: number.compare_exchange(value, 5),
        lambda value: setattr(number, "value", value),
        AtomicInt,
    ):
        with pytest.raises(error):
            use(value)
    with pytest.raises(TypeError):
        number.add(1, 2)
    with pytest.raises(AttributeError):
        del number.value
    assert number.value == 5


def test_a_name_is_one_number_and_its_first_value_the_creators():
    first, second = AtomicInt(5, name="n"), AtomicInt(9, name="n")
    assert second.value == 5 and second.name == "n"
    second.add(1)
    assert first.value == 6
    with pytest.raises(ipcsys.MismatchError):
        ipcsys.Lock(name="n")
    first.close()
    second.close()


def test_a_pickled_number_is_the_same_number():
    for name in (None, "n"):
        number = AtomicInt(1, name=name)
        other = pickle.loads(pickle.dumps(number))
        other.add(1)
        assert number == 2 and other == number
        other.close()
        number.close()


def test_threads_lose_no_addition():
    number = AtomicInt()

    def work():
        for _ in range(5000):
            number.add(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert number.value == 20_000


def test_a_closed_number_raises_closed_from_everything():
    number = AtomicInt(5)
    with number as same:
        assert same is number
    assert number.closed and repr(number) == "<closed AtomicInt>"
    for use in (number.load, number.add, number.sub, lambda: number.store(1), lambda: int(number),
                lambda: number == 5, lambda: number.value, lambda: pickle.dumps(number)):  # fmt: skip
        with pytest.raises(ipcsys.Closed):
            use()


def test_bits_and_extremes_give_the_value_before():
    number = AtomicInt(0b0110)
    assert number.fetch_and(0b0011) == 0b0110 and number.fetch_or(0b1000) == 0b0010
    assert number.fetch_xor(0b1111) == 0b1010 and number == 0b0101
    number &= 4
    number |= 1
    number ^= 2
    assert type(number) is AtomicInt and number == 7
    assert number.fetch_min(9) == 7 and number.fetch_min(-3) == 7 and number == -3
    assert number.fetch_max(-9) == -3 and number.fetch_max(TOP) == -3 and number == TOP
    for wrong in ("1", 1.5, None):
        with pytest.raises(TypeError):
            number.fetch_or(wrong)
        with pytest.raises(TypeError):
            number &= wrong


def test_a_float_is_a_double_whose_zeros_and_nans_are_one_value():
    number = AtomicFloat(1.5)
    assert number.add(0.25) == 1.75 and number.add() == 2.75 and number.sub(2) == 0.75
    assert number.fetch_add(0.25) == 0.75 and number.fetch_sub() == 1.0 and number == 0.0
    assert number.exchange(-0.0) == 0.0 and math.copysign(1, number.load()) == -1
    assert number.compare_exchange(0.0, math.nan) and math.isnan(number.load())
    assert not number.compare_exchange(0.0, 1.0) and number.compare_exchange(math.nan, 7)
    assert number.fetch_min(math.nan) == 7 and number.fetch_min(3) == 7 and number.fetch_max(4) == 3
    number += 0.5
    number -= 1
    number.value += 1
    assert type(number) is AtomicFloat and float(number) == 4.5 and int(number) == 4
    assert number == AtomicFloat(4.5) and number > 4 and number <= 4.5 and bool(number)
    assert repr(number) == "AtomicFloat(4.5)" and repr(AtomicFloat()) == "AtomicFloat(0.0)"
    assert AtomicFloat(2**70).load() == 2.0**70 and AtomicFloat(math.inf).sub(math.inf) != 0
    for wrong in ("1", None, 1j):
        for use in (number.add, number.store, number.fetch_max, AtomicFloat):
            with pytest.raises(TypeError):
                use(wrong)
    with pytest.raises(TypeError):
        hash(number)
    assert number == 4.5


def test_a_bool_is_the_truth_of_what_is_stored():
    flag = AtomicBool()
    assert flag.load() is False and flag.exchange("yes") is False and flag.load() is True
    assert flag.fetch_and(0) is True and flag.fetch_or(1) is False and flag.fetch_xor(True) is True
    assert flag == False and flag != AtomicBool(True) and not flag and int(flag) == 0  # noqa: E712
    assert flag.compare_exchange(True, True) is False and flag.compare_exchange(False, True)
    flag ^= True
    flag |= True
    flag &= True
    assert type(flag) is AtomicBool and flag.value is True and repr(flag) == "AtomicBool(True)"

    class Untold:
        def __bool__(self):
            raise LookupError

    for use in (flag.store, flag.exchange, AtomicBool):
        with pytest.raises(LookupError):
            use(Untold())
    with pytest.raises(TypeError):
        flag |= 1
    assert flag.load() is True


KINDS = [(AtomicInt, 5, 6), (AtomicFloat, 0.5, 1.5), (AtomicBool, False, True)]


@pytest.mark.parametrize(("kind", "value", "other"), KINDS)
@pytest.mark.parametrize("place", ["unnamed", "named", "segment"])
def test_each_stands_unnamed_named_or_in_a_segment_and_travels(kind, value, other, place):
    segment = Segment(None) if place == "segment" else None
    if segment is not None:
        word = segment.construct(kind, "w", value)
        again = segment["w"]
    else:
        word = kind(value, name="w" if place == "named" else None)
        again = pickle.loads(pickle.dumps(word))
    assert type(again) is kind and again == word == value
    again.store(other)
    assert word.load() == other and type(word.load()) is type(value)
    if segment is not None:
        assert pickle.loads(pickle.dumps(word)) == other and segment.check() == []
        segment.destroy("w")
        for use in (word.load, word.notify, lambda: word.wait(other), lambda: word.store(value)):
            with pytest.raises(ipcsys.ObjectGone):
                use()
    again.close()
    word.close()
    for use in (word.load, word.notify, word.notify_all, lambda: word.wait(other)):
        with pytest.raises(ipcsys.Closed):
            use()


def test_one_kind_is_not_another():
    with AtomicInt(name="w"):
        for kind in (AtomicFloat, AtomicBool):
            with pytest.raises(ipcsys.MismatchError):
                kind(name="w")
    with Segment(None) as segment:
        segment.construct(AtomicBool, "w")
        with pytest.raises(ipcsys.MismatchError):
            segment.find_or_construct(AtomicFloat, "w")


@pytest.mark.parametrize(("kind", "value", "other"), KINDS)
def test_wait_ends_once_the_value_is_another(kind, value, other):
    word = kind(value)
    assert word.wait(other) is True  # it is another already
    assert word.wait(value, 0) is False and word.wait(expected=value, timeout=0.01) is False
    answers = []
    thread = threading.Thread(target=lambda: answers.append(word.wait(value, 60)))
    thread.start()
    time.sleep(0.05)
    word.notify()  # nothing has changed: it goes on waiting
    time.sleep(0.02)
    assert not answers
    word.store(other)
    word.notify_all()
    thread.join(10)
    assert answers == [True]


def test_a_change_that_nobody_tells_of_is_seen_all_the_same():
    word = AtomicInt()
    threading.Timer(0.02, word.store, [1]).start()
    assert word.wait(0, 10) is True


def test_odd_calls_of_wait_and_notify_are_refused():
    word = AtomicInt()
    for use, error in (
        (lambda: word.wait(), TypeError), (lambda: word.wait(0, 1, 2), TypeError),
        (lambda: word.wait(0, expected=0), TypeError), (lambda: word.wait(0, until=1), TypeError),
        (lambda: word.wait("0"), TypeError), (lambda: word.wait(0, "1"), TypeError),
        (lambda: word.wait(0, math.nan), ValueError), (lambda: word.notify(-1), ValueError),
        (lambda: word.notify("1"), TypeError), (lambda: word.notify(m=1), TypeError),
        (lambda: word.notify(1, 2), TypeError),
    ):  # fmt: skip
        with pytest.raises(error):
            use()
    assert word.notify(0) is word.notify(n=3) is word.notify(2**40) is word.notify_all() is None


@pytest.mark.parametrize("end", ["close", "destroy"])
def test_who_waits_hears_of_the_words_end(end):
    segment = Segment(None)
    word = segment.construct(AtomicInt, "w")
    raised = []

    def wait():
        try:
            word.wait(0)
        except ipcsys.Error as error:
            raised.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    word.close() if end == "close" else segment.destroy("w")
    thread.join(10)
    assert raised == [ipcsys.Closed if end == "close" else ipcsys.ObjectGone]


def test_tasks_wait_for_a_change():
    async def main():
        for kind, value, other in KINDS:
            word = kind(value)
            face = aio.wrap(word)
            assert type(face).__name__ == kind.__name__ and face.shared is word
            assert await face.wait(other) and not await face.wait(value, 0)
            assert not await face.wait(value, 0.01)
            tasks = [asyncio.create_task(face.wait(value, 30)) for _ in range(3)]
            await asyncio.sleep(0.02)
            face.store(other)
            face.notify_all()
            assert await asyncio.gather(*tasks) == [True] * 3 and face.load() == other
            task = asyncio.create_task(face.wait(other))
            await asyncio.sleep(0.01)
            face.close()
            with pytest.raises(ipcsys.Closed):
                await task

    asyncio.run(asyncio.wait_for(main(), 60))
