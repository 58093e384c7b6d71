# SPDX-License-Identifier: Apache-2.0
"""Builds ipcsys._core from csrc/, and beside it the instrument of the crash tests."""

import sys
from glob import glob

from setuptools import Extension, setup

if sys.platform != "linux":
    sys.exit("ipcsys needs Linux 5.4 or later: it stands on futexes, tmpfs and record locks.")

STEPPER = "csrc/bind/stepper.c"


def extension(name, sources):
    return Extension(
        name,
        sources=sources,
        depends=sorted(glob("csrc/*/*.h")),
        include_dirs=["csrc"],
        define_macros=[("_GNU_SOURCE", None)],
        extra_compile_args=[
            "-std=c11", "-O2", "-fvisibility=hidden", "-fno-strict-aliasing",
            "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Wno-cast-function-type",
        ],
    )


setup(
    ext_modules=[
        extension("ipcsys._core", sorted(set(glob("csrc/*/*.c")) - {STEPPER})),
        extension("ipcsys._stepper", [STEPPER]),
    ],
)
