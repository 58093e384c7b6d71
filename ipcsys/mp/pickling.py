# SPDX-License-Identifier: Apache-2.0
"""How objects that are not plain values become bytes in the queues of ipcsys.mp."""

from io import BytesIO
from multiprocessing.reduction import ForkingPickler

__all__ = ["dumps"]


def dumps(obj, protocol, buffer_callback=None):
    """The pickle of `obj` with multiprocessing's reducers: of connections, sockets, ctypes."""
    out = BytesIO()
    ForkingPickler(out, protocol, True, buffer_callback).dump(obj)
    return out.getvalue()
