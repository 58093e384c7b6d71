# SPDX-License-Identifier: Apache-2.0
"""For tests: of programs that use ipcsys, and of ipcsys itself.

    kill_at     kill an operation of yours at each point where others could tell
                the difference, and look what survives
    plugin      the pytest plugin: a namespace for each test, and what it leaked

The instruments below stand under both, shipped so that anyone can repeat ours:

    killing     kill_at
    leaks       what a namespace's user left behind
    stepping    one call, instruction by instruction, and death at a chosen one
    sweeping    the same call killed at many points, survivors asked each time
    scenes      the operations to kill, one file per kind of object
    storms      many processes killed at random, what they hold counted after
    hostility   damaged files, opened and used
    values      our MessagePack beside another library's: python -m ipcsys.testing.values
    campaign    every operation by a command: python -m ipcsys.testing.campaign
"""

__all__ = ["Death", "kill_at"]


def __getattr__(name):
    # The plugin lives in this package, and is imported by every pytest.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ipcsys.testing import killing

    return getattr(killing, name)
