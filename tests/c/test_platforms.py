# SPDX-License-Identifier: Apache-2.0
"""The core on another C library, another processor and in the other byte order.

All its tests there: python tests/support/platforms.py."""

import core_in_c
import platforms
import pytest


@pytest.mark.parametrize("target", platforms.TARGETS)
def test_the_core_compiles_there_and_its_first_floors_work(target, tmp_path):
    if lacking := platforms.missing(target):
        pytest.skip(f"no {', '.join(lacking)} here")
    archive = platforms.core(target, tmp_path)
    for test in ("base_test.c", "codec_test.c"):
        core_in_c.run(platforms.program(target, core_in_c.TESTS / test, archive, tmp_path))
