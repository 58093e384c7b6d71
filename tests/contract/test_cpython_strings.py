# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of text, run on SharedString.

An excuse is a test that asks for what text which changes cannot have, or for
the words of an error.
"""

import unittest

import pytest

from ipcsys import SharedString

string_tests = pytest.importorskip("test.string_tests", reason="Python without its own tests")

HASH = "what changes has no hash"


class Text(SharedString):
    """Made as a str is."""

    def __init__(self, text="", *rest):
        super().__init__(None, str(text, *rest) if rest else str(text))


# Their names from 3.13 on, and before.
if hasattr(string_tests, "StringLikeTest"):
    BASES = (string_tests.StringLikeTest,)
else:
    BASES = (string_tests.CommonTest, string_tests.MixinStrUnicodeUserStringTest)


class TestSharedString(*BASES, unittest.TestCase):
    type2test = Text

    @classmethod
    def setUpClass(cls):
        cls.shared = SharedString()  # one for all: each would be a file

    @classmethod
    def tearDownClass(cls):
        cls.shared.close()

    def fixtype(self, value):
        return value

    def method(self, object, name):
        if not isinstance(object, str):  # the test made a Text by itself
            return getattr(object, name)
        self.shared.set(object)
        return getattr(self.shared, name)

    def checkequal(self, result, object, methodname, *args, **kwargs):
        self.assertEqual(result, self.method(object, methodname)(*args, **kwargs))

    def checkraises(self, kind, object, methodname, *args, expected_msg=None):
        with self.assertRaises(kind):
            self.method(object, methodname)(*args)

    def checkcall(self, object, methodname, *args):
        self.method(object, methodname)(*args)

    test_fixtype = None  # of the tests themselves
    test_replace_overflow = None  # skipped by CPython itself where a pointer has 64 bits

    @pytest.mark.xfail(reason=HASH, strict=True)
    def test_hash(self):
        super().test_hash()
