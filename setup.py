# SPDX-License-Identifier: Apache-2.0
"""Builds the one extension module, ipcsys._core, from csrc/."""

import sys
from glob import glob

from setuptools import Extension, setup

if sys.platform != "linux":
    sys.exit("ipcsys needs Linux 5.4 or later: it stands on futexes, tmpfs and record locks.")

setup(
    ext_modules=[
        Extension(
            "ipcsys._core",
            sources=sorted(glob("csrc/*/*.c")),
            depends=sorted(glob("csrc/*/*.h")),
            include_dirs=["csrc"],
            define_macros=[("_GNU_SOURCE", None)],
            extra_compile_args=[
                "-std=c11", "-O2", "-fvisibility=hidden", "-fno-strict-aliasing",
                "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Wno-cast-function-type",
            ],
        )
    ],
)
