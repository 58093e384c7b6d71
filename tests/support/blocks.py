# SPDX-License-Identifier: Apache-2.0
"""Does a call keep memory?"""

import gc
import sys


def kept_by(call, times=20):
    """Python's blocks that are more after `times` calls, the least of three rounds: other
    threads of a test worker allocate too, and tables of bounded size fill; a leak is there
    in each."""
    call()
    call()
    grown = []
    for _ in range(3):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(times):
            call()
        gc.collect()
        grown.append(sys.getallocatedblocks() - before)
    return min(grown)
