# SPDX-License-Identifier: Apache-2.0
"""The thread of `Segment(path=..., autoflush=seconds)`.

Every member that asks has one; whoever comes first flushes, and the others find
that somebody looked at the file less than an interval ago and do nothing.  So
there is nobody to elect: when a flusher dies, the next one to look goes on.
"""

import threading
import weakref

from . import errors

__all__ = ["start"]


def _run(reference, seconds, stop):
    while not stop.wait(seconds):
        segment = reference()
        if segment is None or segment.closed:
            return
        try:
            segment.flush(timeout=seconds, max_age=seconds * 0.9)
        except (errors.Closed, errors.ObjectGone, errors.NotFound):
            return  # the segment was closed, or its file is gone: nothing to keep
        except (errors.Timeout, errors.Busy):
            continue  # others flush, or have a transaction open: next time
        except errors.Error as error:
            threading.excepthook(
                threading.ExceptHookArgs((type(error), error, None, threading.current_thread()))
            )
        finally:
            del segment  # not kept alive by a thread that sleeps


def start(segment, seconds):
    """Flush the segment every so many seconds, as long as somebody refers to it."""
    stop = threading.Event()
    reference = weakref.ref(segment, lambda _: stop.set())
    thread = threading.Thread(
        target=_run,
        args=(reference, float(seconds), stop),
        name=f"ipcsys-autoflush-{segment.name}",
        daemon=True,
    )
    thread.start()
    return thread
