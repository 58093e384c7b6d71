# SPDX-License-Identifier: Apache-2.0
"""The instruments of the crash tests, shipped so that anyone can repeat them.

    stepping    one call, instruction by instruction, and death at a chosen one
    sweeping    the same call killed at many points, survivors asked each time
    scenes      the operations to kill, one file per kind of object
    storms      many processes killed at random, what they hold counted after
    hostility   damaged files, opened and used
    campaign    every operation by a command: python -m ipcsys.testing.campaign
"""
