# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of lists and deques, run on SharedVector and SharedDeque.

An excuse is a test that asks for what shared memory cannot give, or for the
words of an error.
"""

import pytest
from excuses import excused

from ipcsys import SharedDeque, SharedVector

list_tests = pytest.importorskip("test.list_tests", reason="Python without its own tests")
test_deque = pytest.importorskip("test.test_deque", reason="Python without its own tests")

COPIES = "stores instances of local classes, of which no copy can be made"
SNAPSHOT = "an iterator walks the values of one moment"
WORDS = "the repr or the message names the type"
IDENTITY = "asks for the very object that was stored"
ITSELF = "a container that contains itself, or others without end"

VECTOR = {
    "test_contains_order": COPIES,
    "test_index": COPIES,
    "test_remove": COPIES,
    "test_exhausted_iterator": SNAPSHOT,
    "test_free_after_iterating": SNAPSHOT,
    "test_init": "a handle that is open is not opened again",
    "test_repr": WORDS,
    "test_setitem": WORDS,
    "test_repr_deep": ITSELF,
}
DEQUE = {
    "test_basics": "a handle that is open is not opened again",
    "test_contains": COPIES,
    "test_contains_count_stop_crashes": COPIES,
    "test_contains_count_index_stop_crashes": COPIES,  # its name from 3.13 on
    "test_container_iterator": COPIES,
    "test_count": COPIES,
    "test_index": COPIES,
    "test_remove": COPIES,
    "test_copy": IDENTITY,
    "test_deepcopy": IDENTITY,
    "test_iterator_pickle": SNAPSHOT,
    "test_reversed_new": SNAPSHOT,
    "test_maxlen": WORDS,
    "test_repr": ITSELF,
    "test_pickle_recursive": ITSELF,
    "test_sizeof": "the size of a struct of CPython",
}


@excused(VECTOR)
class TestSharedVector(list_tests.CommonTest):
    type2test = SharedVector


@excused(DEQUE)
class TestSharedDeque(test_deque.TestBasic):
    @pytest.fixture(autouse=True)
    def ours(self, monkeypatch):
        monkeypatch.setattr(test_deque, "deque", SharedDeque)
