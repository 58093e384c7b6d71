# SPDX-License-Identifier: Apache-2.0
"""Nodes: processes that find each other by name and call each other.

node      Node itself: its life, its handlers, its face
client    the asking side: reply lines, cached inboxes, waiting for an answer
server    the answering side: the worker threads behind the inbox
"""

from ipcsys.node.node import Node, NodeStatistics

__all__ = ["Node", "NodeStatistics"]
