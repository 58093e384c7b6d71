# SPDX-License-Identifier: Apache-2.0
"""The operations that are killed: one file per kind of object, one class each.

A scene's oracle may rely on this much only: what returned took place, what
was killed took place whole or not at all, and nobody is in the survivors' way.
"""

import importlib
import pkgutil

from ipcsys.testing.sweeping import Scene


def every():
    """All scenes as "module:Class", by name of the scene."""
    found = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        space = vars(importlib.import_module(f"{__name__}.{module}"))
        for kind in space.values():
            if isinstance(kind, type) and issubclass(kind, Scene) and "name" in vars(kind):
                if kind.name and kind.__module__ == f"{__name__}.{module}":
                    spec = f"{kind.__module__}:{kind.__qualname__}"
                    if found.setdefault(kind.name, spec) != spec:
                        raise ValueError(f"two scenes are named {kind.name!r}")
    return dict(sorted(found.items()))
