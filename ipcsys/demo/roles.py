# SPDX-License-Identifier: Apache-2.0
"""The three roles, each a program that reads commands from its terminal."""

import sys
from time import sleep

from ipcsys import AtomicInt, Error, Node, RemoteError, SharedDeque
from ipcsys.demo.calculator import evaluate


def commands(prompt):
    """Lines from the terminal, stripped, until its end; a prompt only for people."""
    while True:
        if sys.stdin.isatty():
            print(prompt, end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def say(*words):
    print(*words, flush=True)


def server(argv):
    name = argv[0] if argv else "calculator"
    with Node(name) as node:
        node.register_service("calculator", evaluate)

        @node.on_request
        def be_busy(seconds):
            """For the play: a request that is surely in flight when this process is killed."""
            node.send("director", "busy")
            sleep(seconds)

        say(f"{name} serves 'calculator'; q ends it")
        for command in commands("server> "):
            if command in ("q", "quit"):
                break
            say("the only command is q")
    say(f"answered {node.statistics.served} requests")
    return 0


def client(argv):
    name = argv[0] if argv else "client"
    with Node(name) as node:
        say("an expression, get_counter, inc_N; quit ends it")
        for command in commands("client> "):
            if command in ("q", "quit"):
                break
            service = "data-manager" if command.startswith(("get_", "inc_")) else "calculator"
            try:
                say(node.call(service, command))
            except RemoteError as error:
                say("error:", error)
            except Error as error:  # nobody there, died, too slow: the next may work
                say("failed:", error)
    return 0


def data_manager(argv):
    name = argv[0] if argv else "data-manager"
    with Node(name) as node:
        counter = node.segment.find_or_construct(AtomicInt, "demo.counter")
        numbers = node.segment.find_or_construct(SharedDeque, "demo.numbers")

        def answer(request):
            if request == "get_counter":
                return counter.load()
            if isinstance(request, str) and request.startswith("inc_"):
                return counter.add(int(request[4:]))
            raise ValueError(f"requests are get_counter and inc_N, not {request!r}")

        node.on_request(answer)
        node.register_service("data-manager")
        say(f"{name} serves 'data-manager'; inc, get, push N, pop, quit")
        for command in commands("data> "):
            match command.split():
                case ["inc"]:
                    say(counter.add(1))
                case ["get"]:
                    say(counter.load(), list(numbers))
                case ["push", number] if number.lstrip("-").isdigit():
                    numbers.append(int(number))
                    say(len(numbers), "in the list")
                case ["pop"]:
                    say(numbers.popleft() if numbers else "the list is empty")
                case ["quit" | "q"]:
                    break
                case _:
                    say("commands: inc, get, push N, pop, quit")
    return 0
