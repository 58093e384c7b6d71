# SPDX-License-Identifier: Apache-2.0
"""Nodes in processes of their own, for tests to call and to kill."""

import os
import signal
import subprocess
import sys
import time


class Server:
    """A process with one node that offers every service of `main` below."""

    def __init__(self, name="server", workers=4):
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, name, str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.id = self.process.stdout.readline().strip()
        assert self.id, f"{name} did not start"

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)

    def end(self):
        """Let it stop by itself; returns its exit status."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        return self.process.wait(timeout=20)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def main(name, workers):
    import threading

    from ipcsys import Node

    with Node(name, workers=int(workers)) as node:
        notes = []

        def fail(text):
            raise KeyError(text)

        def tell(target):
            node.send(target, "begun")
            time.sleep(30)

        node.on_request(lambda data: ("request", data))
        node.on_notification(lambda message: notes.append(message.data))
        node.register_service("echo", lambda data: data)
        node.register_service("pid", lambda data: os.getpid())
        node.register_service("name", lambda data: name)
        node.register_service("fail", fail)
        node.register_service("sleep", lambda seconds: time.sleep(seconds) or seconds)
        node.register_service("hang", tell)
        node.register_service("again", lambda depth: depth and 1 + node.request(node.id, depth))
        node.register_service("notes", lambda data: list(notes))
        node.register_service("unsendable", lambda data: threading.Lock())
        print(node.id, flush=True)
        reader = threading.Thread(target=lambda: (sys.stdin.read(), node.stop()), daemon=True)
        reader.start()
        node.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
