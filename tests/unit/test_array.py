# SPDX-License-Identifier: Apache-2.0
"""SharedArray: views without copying, whose memory lives as long as they do."""

import gc
import multiprocessing
import pickle
import struct

import pytest

import ipcsys
from ipcsys import SharedArray

numpy = pytest.importorskip("numpy")

DTYPES = [
    "f8", "<f4", "float64", "int32", "u1", "?", "c16", "f2", "S7", "U3", ">i4", "M8[ns]", "m8[s]",
    float, int, bool, numpy.uint16, numpy.dtype("d"),
    [("id", "<i4"), ("at", "<f8", (3,))],
    numpy.dtype([("a", "u1"), ("b", "<f8")], align=True),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numpy_sees_any_dtype_without_a_copy(dtype):
    with SharedArray(shape=(3, 2), dtype=dtype) as array:
        view = numpy.asarray(array)
        assert view.dtype == numpy.dtype(dtype) and view.shape == (3, 2) == array.shape
        assert numpy.dtype(array.dtype) == view.dtype
        assert view.nbytes == array.nbytes and array.itemsize == view.itemsize
        view[1, 1] = numpy.ones((), dtype)
        assert (numpy.asarray(array) == view).all() and array.numpy()[1, 1] == view[1, 1]


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("shape", [(), 5, (0,), (4,), (2, 3, 4), (3, 0, 2)])
def test_shapes_and_orders_are_those_of_numpy(shape, order):
    with SharedArray(shape=shape, dtype="i4", order=order) as array:
        like = numpy.zeros(shape, "i4", order)
        view = array.numpy()
        assert (view.shape, array.size, array.ndim) == (like.shape, like.size, like.ndim)
        if like.size:
            assert view.strides == like.strides == array.strides
        assert view.flags.c_contiguous == like.flags.c_contiguous
        assert view.flags.f_contiguous == like.flags.f_contiguous
        if like.ndim:
            assert len(array) == len(like)
        else:
            with pytest.raises(TypeError):
                len(array)


def test_memoryview_needs_no_numpy():
    with SharedArray(shape=4, dtype="h") as array:
        with memoryview(array) as view:
            assert (view.format, view.shape, view.readonly) == ("h", (4,), False)
            view[2] = -7
            assert bytes(view) == struct.pack("4h", 0, 0, -7, 0)
            assert array.numpy()[2] == -7


def test_items_lie_on_a_cache_line_of_their_own():
    with SharedArray(shape=1, dtype="u1") as array:
        assert array.numpy().ctypes.data % 64 == 0


def test_a_view_outlives_the_handle_and_the_name():
    array = SharedArray("kept", 1000, "f8")
    view = array.numpy()
    view[:] = 5
    array.close()
    with pytest.raises(ipcsys.Closed):
        memoryview(array)
    del array
    gc.collect()
    with SharedArray("kept") as again:
        again.numpy()[0] = 6
    assert view[0] == 6 and view[-1] == 5
    with pytest.raises(ipcsys.InUse):  # the view holds it
        SharedArray.remove("kept")
    del view
    gc.collect()
    SharedArray.remove("kept")


def test_a_readonly_handle_gives_views_that_cannot_write():
    with SharedArray("board", 3, "i4") as array, SharedArray("board", readonly=True) as reader:
        array.numpy()[1] = 4
        view = reader.numpy()
        assert view[1] == 4 and not view.flags.writeable and reader.readonly
        with pytest.raises(ValueError):
            view[1] = 5
        with pytest.raises(TypeError):
            struct.pack_into("i", reader, 0, 1)
        del view
    SharedArray.remove("board")


def test_an_array_that_differs_is_a_mismatch():
    with SharedArray("grid", (2, 3), "f8"):
        for different in (
            {"shape": (3, 2)},
            {"shape": 6},
            {"dtype": "f4"},
            {"order": "F"},
        ):
            with pytest.raises(ipcsys.MismatchError, match="array has"):
                SharedArray("grid", **different)
        with SharedArray("grid", (2, 3), "f8", "C") as same:
            assert same.shape == (2, 3)
        with pytest.raises(ipcsys.MismatchError):
            ipcsys.Queue(name="grid")
        with pytest.raises(ipcsys.AlreadyExists):
            SharedArray("grid", (2, 3), create=True)
    SharedArray.remove("grid")
    with pytest.raises(ipcsys.NotFound):
        SharedArray("grid")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, TypeError),
        ({"shape": -1}, ValueError),
        ({"shape": (2, -3)}, ValueError),
        ({"shape": 1.5}, TypeError),
        ({"shape": (2**40, 2**40)}, ValueError),
        ({"shape": [1] * 33}, ValueError),
        ({"shape": 1, "dtype": "no such"}, TypeError),
        ({"shape": 1, "dtype": object}, TypeError),
        ({"shape": 1, "dtype": "O"}, TypeError),
        ({"shape": 1, "dtype": ("f8", (2,))}, TypeError),
        ({"shape": 1, "dtype": "V0"}, ValueError),
        ({"shape": 1, "order": "A"}, ValueError),
        ({"shape": 1, "name": "a/b"}, ValueError),
        ({"shape": 2**45}, ValueError),
        ({"shape": 2**42}, OSError),
    ],
)
def test_bad_arguments_are_refused(arguments, error):
    with pytest.raises(error):
        SharedArray(**arguments)


def test_its_lock_is_the_same_for_all_who_open_it():
    with SharedArray("sums", 2, "i8") as array, SharedArray("sums") as other:
        with array.lock:
            assert other.lock.locked() and not other.lock.acquire(timeout=0)
        assert not other.lock.locked()
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(array.lock)
    SharedArray.remove("sums")


def _add(array, rounds):
    view = array.numpy()
    for _ in range(rounds):
        with array.lock:
            view[:] += 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_work_on_the_same_items(method):
    context = multiprocessing.get_context(method)
    with SharedArray(shape=(8, 8), dtype="i8") as array:
        children = [context.Process(target=_add, args=(array, 200)) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
            assert child.exitcode == 0
        assert (array.numpy() == 400).all()


def test_a_pickle_is_a_handle():
    with SharedArray("row", 3, "f8", create=True) as array:
        text = pickle.dumps(array)
        with pickle.loads(text) as other:
            other.numpy()[0] = 2.5
        assert array.numpy()[0] == 2.5
        gc.collect()
    SharedArray.remove("row")
    with pytest.raises(ipcsys.ObjectGone):
        pickle.loads(text)
    with SharedArray("row", 3, "f8"), pytest.raises(ipcsys.ObjectGone):
        pickle.loads(text)
    SharedArray.remove("row")


def test_its_repr_says_what_it_is():
    with SharedArray("row", (2, 2), "f4", "F") as array:
        assert repr(array) == "<SharedArray name='row' shape=(2, 2) dtype='<f4' order='F'>"
    assert repr(array) == "<closed SharedArray>"
    SharedArray.remove("row")


def test_simple_dtypes_import_no_numpy():
    import subprocess
    import sys

    code = (
        "import ipcsys, sys; a = ipcsys.SharedArray(shape=3, dtype='f8'); "
        "memoryview(a)[0] = 1.5; assert 'numpy' not in sys.modules; print(memoryview(a)[0])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], timeout=30) == b"1.5\n"
