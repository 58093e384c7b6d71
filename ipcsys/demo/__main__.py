# SPDX-License-Identifier: Apache-2.0
"""`python -m ipcsys.demo [role]`; the play starts its actors this way."""

import sys

from ipcsys import demo
from ipcsys.demo import load

ROLES = {
    "server": demo.server,
    "client": demo.client,
    "data-manager": demo.data_manager,
    "load": load.main,
}


def main(argv):
    if not argv or argv == ["--json"]:
        return demo.run(json=bool(argv))
    role = ROLES.get(argv[0])
    if role is None:
        print(f"usage: python -m ipcsys.demo [--json | {' | '.join(ROLES)}]", file=sys.stderr)
        return 2
    return role(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
