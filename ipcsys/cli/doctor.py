# SPDX-License-Identifier: Apache-2.0
"""`ipcsys doctor`: what on this machine makes ipcsys slow, or fail."""

from dataclasses import asdict

import click

from ipcsys.cli.output import json_option, print_json, show, table


@click.command()
@json_option
def doctor(as_json):
    """Look for what on this machine would make ipcsys slow or fail.

    Each finding is ok, warn or fail, the last two with a remedy.  Exit status
    1 where something fails.
    """
    from ipcsys import doctor as practice

    facts = practice.gather()
    found = practice.examine(facts)
    failed = any(finding.verdict == practice.FAIL for finding in found)
    if as_json:
        print_json({
            "healthy": not failed,
            "findings": [asdict(finding) for finding in found],
            "facts": asdict(facts),
        })  # fmt: skip
        return 1 if failed else 0
    rows = [
        (finding.verdict, finding.check, "\n".join((finding.what, *finding.details)),
         finding.remedy)
        for finding in found
    ]  # fmt: skip
    show(table("", ("", "what", "finding", "remedy"), rows))
    worse = [finding for finding in found if finding.verdict != practice.OK]
    if not worse:
        show("", "Nothing to complain about.")
    return 1 if failed else 0
