# SPDX-License-Identifier: Apache-2.0
"""An orderly end of the process gives back what only its death would break.

A process that has waited at a barrier is a party of it: its death breaks the
barrier.  One that comes to its end does not die in that sense, and
multiprocessing ends its children without running atexit's functions."""

import atexit
import os
import sys
import weakref

_remembered = weakref.WeakSet()
_asked_in = None  # the process that will call _say_farewell


def remember(barrier):
    """Have the barrier's seat given back when this process ends."""
    global _asked_in
    _remembered.add(barrier)
    if _asked_in != os.getpid():
        if _asked_in is None:  # a forked child inherits atexit's functions
            atexit.register(_say_farewell)
        _asked_in = os.getpid()
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.Finalize(None, _say_farewell, exitpriority=0)


def _say_farewell():
    for barrier in list(_remembered):
        barrier._stand_up()
