# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from top to bottom, in a kernel like a user's; one is killed in the middle."""

import ast
import contextlib
import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("ipykernel", reason="the extra `test` brings it")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")

import nbformat
from jupyter_client.manager import KernelManager

NOTEBOOKS = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
LATE = 40  # seconds


class Kernel:
    """A kernel as a notebook starts it, in the notebooks' folder."""

    def __init__(self, folder):
        self._manager = KernelManager(
            transport="ipc", ip=str(folder / "socket"), connection_file=str(folder / "kernel.json")
        )
        environment = {**os.environ, "IPYTHONDIR": str(folder)}  # no history in the user's home
        self._manager.start_kernel(cwd=NOTEBOOKS, env=environment)
        self._connect()

    def _connect(self):
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=LATE)

    def run(self, source):
        """What the cell printed and what its value looks like, by media type."""
        shown = {"text/plain": ""}

        def hear(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                shown["text/plain"] += content["text"]
            elif message["msg_type"] in ("execute_result", "display_data"):
                shown.update(content["data"])

        reply = self._client.execute_interactive(source, output_hook=hear, timeout=LATE)["content"]
        assert reply["status"] == "ok", "\n".join(reply["traceback"])
        return shown

    def kill_and_restart(self):
        pid = int(self.run("import os; os.getpid()")["text/plain"])
        os.kill(pid, signal.SIGKILL)
        self._client.stop_channels()
        self._manager.restart_kernel(now=True)
        self._connect()
        assert int(self.run("import os; os.getpid()")["text/plain"]) != pid

    def end(self):
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()


@contextlib.contextmanager
def kernel(folder):
    one = Kernel(folder)
    try:
        yield one
    finally:
        one.end()


def cells(name):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    nbformat.validate(notebook)
    return notebook.cells


def run_all(name, folder, at_kill=lambda kernel: None):
    """What each code cell showed."""
    shown = []
    with kernel(folder) as one:
        for cell in cells(name):
            if "kill" in cell.metadata.get("tags", ()):
                at_kill(one)
            if cell.cell_type == "code":
                assert not cell.outputs, "notebooks are kept without outputs"
                shown.append(one.run(cell.source))
    return shown


def test_an_array_is_shared_with_a_worker(tmp_path):
    first, worked, refused, killed, _ = run_all("array.ipynb", tmp_path)
    assert "SharedArray &#x27;picture&#x27;, shape (4, 6)" in first["text/html"]
    assert worked["text/plain"] == "(0, [10, 11, 12, 13, 14, 15])"
    assert "cannot import 'darken'" in refused["text/plain"]
    assert "put it into a module" in refused["text/plain"]
    assert killed["text/plain"] == "killed by signal 9 lock abandoned: True\n"


KILLED = pytest.param(Kernel.kill_and_restart, True, id="killed")
ALIVE = pytest.param(lambda one: None, False, id="alive")


@pytest.mark.parametrize(("at_kill", "abandoned"), [KILLED, ALIVE])
def test_a_queue_and_a_map_outlive_the_kernel(tmp_path, at_kill, abandoned):
    queued, done, table, held, again, sound, _ = run_all("queue_and_map.ipynb", tmp_path, at_kill)
    assert queued["text/plain"] == "8"
    squares = [(number, number * number) for number in range(1, 10)]
    assert done["text/plain"] == repr(squares[:8])
    assert "<caption>SharedMap &#x27;results&#x27;, 8 items</caption>" in table["text/html"]
    assert held["text/plain"] == "True"
    assert ast.literal_eval(again["text/plain"]) == (abandoned, squares)
    assert sound["text/plain"] == "[] [] 0\n"
