# SPDX-License-Identifier: Apache-2.0
"""Named excuses for tests of CPython's that ask for what shared memory cannot give."""

import functools

import pytest


def excused(names):
    """The tests of `names` are expected to fail; one that passes is an error."""

    def decorate(cls):
        for name, reason in names.items():
            if hasattr(cls, name):  # not in every Python
                setattr(cls, name, expected_failure(getattr(cls, name), reason))
        return cls

    return decorate


def expected_failure(test, reason):
    @pytest.mark.xfail(reason=reason, strict=True)
    @functools.wraps(test)
    def excuse(self):
        test(self)

    return excuse
