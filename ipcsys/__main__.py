# SPDX-License-Identifier: Apache-2.0
"""The command `ipcsys`, also `python -m ipcsys`."""

import sys
from importlib.util import find_spec


def main():
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        print(
            f"the ipcsys command needs {' and '.join(missing)}: pip install 'ipcsys[cli]'",
            file=sys.stderr,
        )
        return 2
    from ipcsys.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
