# SPDX-License-Identifier: Apache-2.0
"""Speed beside the rivals: the same work, in the same run, in two real processes.

    figures      pure: percentiles, medians, ratios, what may be concluded
    report       pure: rows, tables and the report that the command prints
    noise        how quiet the machine was while it measured
    machine      which CPUs, what machine, a folder of its own for the run
    pairs        two processes, each on a CPU, which run their halves on command
    loops        the timed loops, compiled around each carrier's own statements
    carriers     ways to carry messages: our queue, the standard library's
    rivals       the same for packages of the extra `bench`
    messages     one way: one by one, in batches, as dicts; latency
    roundtrips   there and back: spinning, back to back, after idleness
    locks        a pair of acquire and release: free, `with`, contended
    primitives   every primitive beside its namesakes: free, contended, handed over
    maps         look-ups, replacements, transactions, growth beside a reader
    mapped       a segment in a file, opened after its users were killed
    sequences    an append, an index, a value passed on
    shared       atomics, and views of an array
    calls        a call to a node beside a pipe
    death        from `kill -9` of a lock's holder to the next owner
    fates        the same kills on multiprocessing: who goes on, and who never does
    inside       allocation and look-up, timed inside the C core
    suites       which of these a command runs

Only ipcsys.cli draws tables; whatever is here gives plain data.
"""
