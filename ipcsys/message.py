# SPDX-License-Identifier: Apache-2.0
"""What a Message can be; the class itself is the extension's."""

import enum

__all__ = ["MessageType"]


class MessageType(enum.IntEnum):
    """What a Message asks of its receiver.  The numbers travel: they never change."""

    REQUEST = 1  # wants an answer
    RESPONSE = 2  # is the answer to `correlation_id`
    NOTIFICATION = 3  # wants none
    HEARTBEAT = 4  # the sender lives
    SHUTDOWN = 5  # the receiving node stops

    __module__ = "ipcsys"
