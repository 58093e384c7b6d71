# SPDX-License-Identifier: Apache-2.0
"""The command `ipcsys`: one file for each command, click and rich for the rest.

    main       runs a command and turns failures into one sentence and a status
    output     tables, JSON and the units they are written in
    ls         who is there and what lies there
    locks      who holds what, who waits for it, and who waits for each other
    rm         removes names
    check      looks whether shared bytes keep their own rules
    schema     the layouts of stored records, and declarations beside them
    bench      measures, beside the rivals
    doctor     what on this machine makes it slow, or fail
    demo       the demonstration and its three roles
    version    what is installed

Exit status: 0 done, 1 a problem was found or the command refused, 2 wrong
usage or a missing extra, 130 interrupted.  With --json, results and failures
are JSON: results on standard output, failures on standard error.
"""

from ipcsys.cli.main import main

__all__ = ["main"]
