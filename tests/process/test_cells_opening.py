# SPDX-License-Identifier: Apache-2.0
"""The pool of unnamed objects is opened while others let it grow."""

import ctypes
import os
import platform
import signal
import time

import pytest

import ipcsys

PTRACE_TRACEME, PTRACE_DETACH, PTRACE_SYSCALL = 0, 17, 24
MOST = 600  # system-call stops of one opening; it takes about 100


def in_a_child(work):
    """Run work() in a forked process; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def opens_with_a_growing_pool_at(stop, ptrace):
    """Let a process open the pool; at its system-call stop number `stop` let the
    pool grow.  False where it was through before."""
    namespace = f"opening-{stop}"

    def make():
        kept = ipcsys.Lock(namespace=namespace)
        os.write(made, b"!")
        signal.pause()
        kept.close()

    is_made, made = os.pipe()
    maker = in_a_child(make)
    os.close(made)
    try:
        assert os.read(is_made, 1) == b"!"
        return opens_with_growth_at(stop, namespace, ptrace)
    finally:
        os.close(is_made)
        os.kill(maker, signal.SIGKILL)
        os.waitpid(maker, 0)


def opens_with_growth_at(stop, namespace, ptrace):
    def grow():
        # Two members more, and one of them in a slot that was never used: its
        # uses take memory of their own.
        kept = ipcsys.Lock(namespace=namespace)
        assert os.waitpid(in_a_child(kept.locked), 0)[1] == 0

    def opener():
        assert ptrace(PTRACE_TRACEME, 0, 0, 0) == 0
        os.kill(os.getpid(), signal.SIGSTOP)
        ipcsys.Lock(namespace=namespace)

    pid = in_a_child(opener)
    _, status = os.waitpid(pid, 0)
    reached = 0
    while os.WIFSTOPPED(status) and reached < stop:
        assert ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0
        _, status = os.waitpid(pid, 0)
        reached += 1
    there = os.WIFSTOPPED(status)
    if there:
        # It may have to wait for the one that is stopped.
        grower, ended = in_a_child(grow), (0, 0)
        limit = time.monotonic() + 0.05
        while ended[0] == 0 and time.monotonic() < limit:
            time.sleep(0.001)
            ended = os.waitpid(grower, os.WNOHANG)
        assert ptrace(PTRACE_DETACH, pid, 0, 0) == 0
        _, status = os.waitpid(pid, 0)
        assert (ended if ended[0] != 0 else os.waitpid(grower, 0))[1] == 0
    assert status == 0, f"the opener ended with {status}, stopped {reached} times"
    return there


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system-call stops as x86-64 counts them")
def test_the_pool_can_be_opened_while_it_grows():
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    stops = 0
    while stops < MOST and opens_with_a_growing_pool_at(stops, ptrace):
        stops += 1
    assert 20 < stops < MOST
