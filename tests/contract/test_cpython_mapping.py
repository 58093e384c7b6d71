# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of mappings, run on SharedMap."""

import pytest

from ipcsys import SharedMap

mapping_tests = pytest.importorskip("test.mapping_tests", reason="Python without its own tests")


class TestSharedMap(mapping_tests.BasicTestMappingProtocol):
    """What every mapping keeps, by CPython's account.

    The suite compares with dicts of dicts' own types; SharedMap's copy() is
    the builtin dict, as the docs say, which the suite does not mind.
    """

    type2test = SharedMap

    def _reference(self):
        return {"1": 2, "key1": "value1", "key2": (1, 2, 3)}
