# SPDX-License-Identifier: Apache-2.0
"""Ask whoever serves "calculator".

python calculator_client.py "1 + 2" "7 / 0"
python calculator_client.py                  expressions line by line; quit ends it
"""

import sys

from ipcsys import Node, NoProvider, PeerDied, RemoteError


def ask(node, expression):
    while True:
        try:
            return node.call("calculator", expression)
        except RemoteError as error:  # the handler raised: that is the answer
            return error
        except PeerDied:  # told at once; arithmetic may be asked again, elsewhere
            print("(that server died; asking another)")


def main():
    with Node("calculator-client", workers=1) as node:
        for line in sys.argv[1:] or sys.stdin:
            expression = line.strip()
            if expression == "quit":
                break
            try:
                print(f"{expression} = {ask(node, expression)}", flush=True)
            except NoProvider:
                sys.exit("no server: start calculator_server.py")


if __name__ == "__main__":
    main()
