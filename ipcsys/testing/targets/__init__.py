# SPDX-License-Identifier: Apache-2.0
"""What ipcsys.testing.hostility damages: one class for each kind of file."""

from ipcsys.testing.targets import cells, data, message, segment, sync
from ipcsys.testing.targets.common import Target

_ROOMS = (cells, sync, segment, data, message)


def every():
    """All targets by name."""
    kinds = (kind for room in _ROOMS for kind in vars(room).values() if isinstance(kind, type))
    return {kind.name: kind for kind in kinds if issubclass(kind, Target) and kind.name}
