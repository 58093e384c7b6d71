# SPDX-License-Identifier: Apache-2.0
"""multiprocessing's processes, which look before they start a child that cannot work.

A spawned child imports what it is to run.  What a notebook or an interactive
session has defined stands in a `__main__` that no child can import:
multiprocessing starts the child all the same, which dies of an AttributeError
in somebody's terminal while the parent waits for its work.
"""

import functools
import multiprocessing
import multiprocessing.context
import sys
import types

from ipcsys.errors import EncodeError

__all__ = ["ForkServerProcess", "Process", "SpawnProcess"]

_MOST = 1000  # things that are looked at


def has_importable_main():
    """Will a spawned child find this process's `__main__`?  By the same facts
    that multiprocessing.spawn hands to it."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return getattr(spec, "name", None) is not None or hasattr(main, "__file__")


def _parts(thing):
    """What a pickle of it would look into, of the usual things."""
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType):
        return [thing.__self__]
    if isinstance(thing, dict):
        return [*thing, *thing.values()]
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(thing)
    return []


def unimportable(things):
    """The name of one of `__main__`'s functions or classes among these, or None."""
    pending = list(things)
    for _ in range(_MOST):
        if not pending:
            break
        thing = pending.pop()
        named = thing if isinstance(thing, (type, types.FunctionType)) else type(thing)
        if named.__module__ == "__main__":
            return named.__qualname__
        pending += _parts(thing)[:_MOST]
    return None


class _Looking:
    def start(self):
        """As multiprocessing's; EncodeError where the child could not import what it is to run."""
        method = self._start_method or multiprocessing.get_start_method()
        if method != "fork" and not has_importable_main():
            things = (type(self), self._target, self._args, self._kwargs)
            name = unimportable(things)
            if name is not None:
                raise EncodeError(
                    f"a process started by {method!r} cannot import {name!r}, which stands in the "
                    "__main__ of a notebook or an interactive session: put it into a module (a "
                    f".py file beside the notebook) and import it from there, or start by 'fork': "
                    f"ipcsys.mp.get_context('fork').Process(...)"
                )
        super().start()


class Process(_Looking, multiprocessing.Process):
    __doc__ = multiprocessing.Process.__doc__


class SpawnProcess(_Looking, multiprocessing.context.SpawnProcess):
    __doc__ = multiprocessing.context.SpawnProcess.__doc__


class ForkServerProcess(_Looking, multiprocessing.context.ForkServerProcess):
    __doc__ = multiprocessing.context.ForkServerProcess.__doc__
