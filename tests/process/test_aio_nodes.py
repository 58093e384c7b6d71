# SPDX-License-Identifier: Apache-2.0
"""Nodes asked by tasks: answers, errors, deaths, full inboxes, cancellation."""

import asyncio
import threading
import time

import pytest
from child import Child

import ipcsys
from ipcsys import aio

SERVER = """
with ipcsys.Node("server") as node:
    node.on_request(lambda data: data * 2)
    node.register_service("slow", lambda data: time.sleep(data))
    node.register_service("wrong", lambda data: 1 / 0)
    say("ready")
    hear()
"""


def run(main):
    async def bounded():
        return await asyncio.wait_for(main, 60)

    return asyncio.run(bounded())


def test_tasks_ask_another_process_all_at_once():
    async def main():
        async with aio.Node("client") as node:
            answers = await asyncio.gather(*(node.request("server", n) for n in range(50)))
            assert answers == [2 * n for n in range(50)]
            start = time.monotonic()
            slow = [asyncio.create_task(node.call("slow", 0.3)) for _ in range(3)]
            assert await node.request("server", "ab") == "abab"  # meanwhile
            await asyncio.gather(*slow)
            assert time.monotonic() - start < 5
            with pytest.raises(ipcsys.RemoteError, match="ZeroDivisionError"):
                await node.call("wrong")
            with pytest.raises(ipcsys.NoProvider):
                await node.call("nobody offers this")
            with pytest.raises(ipcsys.NotFound):
                await node.request("nobody")
            with pytest.raises(ipcsys.Timeout):
                await node.call("slow", 1, timeout=0.05)
            assert node.node.statistics.timeouts == 1
            assert node.node.statistics.requests == node.node.statistics.replies + 1

    with Child(SERVER) as server:
        server.expect("ready")
        run(main())


def test_the_death_of_the_node_asked_ends_the_wait_at_once():
    async def main(server):
        async with aio.Node("client") as node:
            assert await node.request("server", 1) == 2
            task = asyncio.create_task(node.call("slow", 60, timeout=60))
            await asyncio.sleep(0.3)
            died = time.monotonic()
            server.process.kill()
            with pytest.raises(ipcsys.PeerDied):
                await task
            assert time.monotonic() - died < 5
            with pytest.raises((ipcsys.NotFound, ipcsys.PeerDied)):
                await node.request("server", 1)

    with Child(SERVER) as server:
        server.expect("ready")
        run(main(server))


def test_a_cancelled_request_leaves_the_line_to_the_next():
    started, go_on = threading.Event(), threading.Event()

    def slow(data):
        started.set()
        go_on.wait(10)
        return data

    async def main():
        with ipcsys.Node("server") as server:
            server.on_request(lambda data: data)
            server.register_service("slow", slow)
            async with aio.Node("client") as node:
                task = asyncio.create_task(node.call("slow", "late"))
                await asyncio.to_thread(started.wait, 10)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                go_on.set()
                for number in range(20):
                    assert await node.request("server", number) == number
                assert node.node.statistics.late_replies == 1

    run(main())


def test_a_face_of_a_node_sends_and_calls_itself():
    got = []

    async def main():
        with ipcsys.Node("both") as plain:
            plain.on_notification(lambda message: got.append(message.data))
            plain.on_request(lambda data: data + 1)
            node = aio.Node.of(plain)
            await node.send("both", {"a": 1})
            assert await node.request("both", 1) == 2
            end = time.monotonic() + 10
            while not got:
                assert time.monotonic() < end
                await asyncio.sleep(0.001)
            assert "both" in repr(node)
        with pytest.raises(ipcsys.Closed):
            await node.request("both", 1)
        with pytest.raises(TypeError):
            aio.Node.of(1)

    run(main())
    assert got == [{"a": 1}]
