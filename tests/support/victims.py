# SPDX-License-Identifier: Apache-2.0
"""Processes that hold a lock and then meet some fate, for tests of death.

`holder(fate)` starts one; it says "held" once it owns the lock named "prize"
and then does what the fate says.  Each fate is a function of this module, run
in the victim as `python victims.py FATE`.
"""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import ipcsys

LOCK = "prize"


def say(word):
    print(word, flush=True)


def sleep():
    say("held")
    signal.pause()


def without_main_thread():
    """The main thread ends, another goes on."""
    threading.Thread(target=_sit, daemon=False).start()
    say("held")
    ctypes.CDLL(None).pthread_exit(None)


def relay():
    """Threads that start a successor and end; the main thread ends first."""
    libc = ctypes.CDLL(None)
    entry = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)

    @entry
    def hop(_argument):
        handle = ctypes.c_ulong()
        libc.pthread_create(ctypes.byref(handle), None, hop, None)
        libc.pthread_detach(handle)
        return None

    handle = ctypes.c_ulong()
    say("held")
    libc.pthread_create(ctypes.byref(handle), None, hop, None)
    libc.pthread_exit(None)


def drop_record_locks():
    """Foreign code opens and closes the file whose record locks are ours."""
    folder = os.path.join(os.environ["IPCSYS_DIR"], os.environ["IPCSYS_NAMESPACE"])
    os.close(os.open(os.path.join(folder, ".locks"), os.O_RDWR))
    sleep()


def close_everything():
    os.closerange(3, 1000)
    sleep()


def replace_by_exec():
    say("held")
    os.execv("/bin/sleep", ["sleep", "60"])


def be_nice():
    os.nice(19)
    sleep()


def dump_core():
    """Large enough that the kernel is still writing when the lock is wanted."""
    import tempfile

    os.chdir(tempfile.mkdtemp(prefix="core-", dir=os.environ["IPCSYS_DIR"]))
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    ballast = bytearray(os.urandom(1 << 20)) * 200
    assert len(ballast)
    sleep()


def hold_much_memory():
    ballast = bytearray(1 << 30)
    for page in range(0, len(ballast), 4096):
        ballast[page] = 1
    sleep()


def _sit():
    while True:
        time.sleep(60)


@contextlib.contextmanager
def holder(fate):
    """The victim process, which owns the lock when this yields."""
    process = subprocess.Popen(
        [sys.executable, __file__, fate], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    assert ipcsys.Lock(name=LOCK).acquire()
    globals()[sys.argv[1]]()
