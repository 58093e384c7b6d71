# SPDX-License-Identifier: Apache-2.0
"""AtomicInt: arithmetic, manners of a number, handles and bad input, in one process."""

import pickle
import threading

import pytest

import ipcsys
from ipcsys import AtomicInt

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
