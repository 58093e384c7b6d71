# SPDX-License-Identifier: Apache-2.0
"""A calculator that others call.  Start as many as you like; kill one if you like.

python calculator_server.py [name]        q ends it
"""

import sys

from ipcsys import Node
from ipcsys.demo.calculator import evaluate  # text to number, without eval()


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else "calculator"
    with Node(name, workers=2) as node:
        # The handler gets the caller's data; what it returns, or raises, travels back.
        node.register_service("calculator", evaluate)
        print(f"{name} (pid {node.registry.find(node.id).pid}) serves; q ends it", flush=True)
        for line in sys.stdin:
            if line.strip() == "q":
                break
    print(f"answered {node.statistics.served} requests")


if __name__ == "__main__":
    main()
