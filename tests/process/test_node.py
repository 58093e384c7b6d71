# SPDX-License-Identifier: Apache-2.0
"""Nodes in several processes: asking, answering, failing, dying."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from child import Child
from servers import Server

from ipcsys import (
    AtomicInt,
    Closed,
    DecodeError,
    EncodeError,
    MessageType,
    Node,
    NoProvider,
    NotFound,
    PeerDied,
    RemoteError,
    Timeout,
)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def node(namespace):
    with Node("tester") as node:
        yield node
    node.close()


@pytest.fixture
def server(namespace):
    with Server() as server:
        yield server


# -- asking and answering -----------------------------------------------------------------


def test_a_request_by_name_or_by_id_returns_what_the_handler_returns(node, server):
    assert tuple(node.request("server", 5)) == ("request", 5)
    assert tuple(node.request(server.id, [1, "two"])) == ("request", [1, "two"])


@pytest.mark.parametrize(
    "data",
    [None, True, 0, -(2**70), 1.5, "text", b"bytes", b"", [1, [2]], {"k": [1]}, "x" * 100_000,
     b"y" * 1_000_000],
)  # fmt: skip
def test_data_arrives_as_it_was_sent(node, server, data):
    assert node.call("echo", data) == data


def test_a_notification_reaches_the_handler_as_a_message(node, server):
    arrived = threading.Event()
    seen = []
    node.on_notification(lambda message: (seen.append(message), arrived.set()))
    with pytest.raises(Timeout):
        node.call("hang", "tester", timeout=0.05)  # the server sends us "begun" first
    assert arrived.wait(10)
    (message,) = seen
    assert message.type == MessageType.NOTIFICATION
    assert (message.data, message.sender) == ("begun", server.id)


def test_sent_notifications_arrive_in_order_with_one_worker(node):
    with Server("one", workers=1):
        for number in range(100):
            node.send("one", number)
        assert node.call("notes") == list(range(100))


def test_headers_travel_with_a_notification(node):
    arrived = threading.Event()
    with Node("other") as other:
        seen = []
        other.on_notification(lambda message: (seen.append(message.headers), arrived.set()))
        node.send("other", None, headers={"trace": "7"})
        assert arrived.wait(10)
    assert seen == [{"trace": "7"}]


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(node):
    with Server("a"), Server("b"):

        def ask(thread):
            return all(node.call("echo", [thread, n]) == [thread, n] for n in range(100))

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, range(16)))
    assert node.statistics.replies == 1600
    assert node.statistics.late_replies == 0


def test_requests_to_one_node_run_in_parallel(node, server):
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda s: node.call("sleep", s), [0.4] * 4)) == [0.4] * 4
    assert time.monotonic() - started < 1.2


def test_a_service_without_a_handler_goes_to_the_request_handler(node):
    node.on_request(lambda data: data * 2)
    node.register_service("double")
    assert node.call("double", 21) == 42


def test_on_request_and_on_notification_are_decorators(node):
    @node.on_request
    def answer(data):
        return data

    @node.on_notification
    def note(message):
        return None

    assert answer(1) == 1 and note(None) is None
    assert node.request("tester", "self") == "self"


def test_a_ping_is_answered_and_renews_the_heartbeat(node, server):
    before = node.registry.find(server.id).heartbeat
    assert node.ping("server") is None
    assert node.registry.find(server.id).heartbeat > before


def test_a_broadcast_reaches_everybody_but_its_sender(node):
    with Server("a", workers=1) as a, Server("b", workers=1) as b:
        assert node.broadcast("all") == 2
        for server in (a, b):
            node.ping(server.id)  # in order behind the notification: one worker
        assert [node.call("notes") for _ in range(2)] == [["all"], ["all"]]
    assert node.statistics.notifications == 0


def test_nodes_share_objects_by_name_in_their_segment(node):
    counter = node.segment.find_or_construct(AtomicInt, "counter")
    counter.add(2)
    with Node("other") as other:
        assert other.segment.find("counter").load() == 2


# -- handlers that call ---------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_a_handler_may_call_its_own_node(namespace, workers):
    with Node("self", workers=workers) as node:
        node.register_service("down", lambda n: 0 if n == 0 else 1 + node.call("down", n - 1))
        assert node.call("down", 20) == 20
        assert node.call("down", 3) == 3
    assert not [t for t in threading.enumerate() if t.name.startswith("self-worker")]


def test_two_nodes_with_one_worker_each_call_each_other(namespace):
    with Node("ping", workers=1) as ping, Node("pong", workers=1) as pong:
        ping.on_request(lambda n: 0 if n == 0 else 1 + ping.request("pong", n - 1))
        pong.on_request(lambda n: 0 if n == 0 else 1 + pong.request("ping", n - 1))
        assert ping.request("pong", 15) == 15


def test_all_workers_may_call_their_own_node_at_once(namespace):
    with Node("self", workers=3) as node:
        node.register_service("leaf", lambda data: data)
        node.register_service("branch", lambda data: node.call("leaf", data))
        with ThreadPoolExecutor(12) as pool:
            assert list(pool.map(lambda n: node.call("branch", n), range(60))) == list(range(60))


# -- failing ----------------------------------------------------------------------------------


def test_an_exception_in_a_handler_travels_with_its_type_and_text(node, server):
    with pytest.raises(RemoteError, match="KeyError: 'lost'") as caught:
        node.call("fail", "lost")
    assert (caught.value.type, caught.value.text, caught.value.node) == (
        "KeyError", "'lost'", "server")  # fmt: skip
    assert node.call("echo", 1) == 1
    assert node.statistics.remote_errors == 1


def test_an_answer_that_cannot_travel_is_the_servers_error(node, server):
    with pytest.raises(RemoteError, match="EncodeError|pickle"):
        node.call("unsendable")
    assert node.call("echo", 1) == 1


class Spoilt:
    """Travels as a pickle, and whoever unpickles it gets a ValueError."""

    def __reduce__(self):
        return int, ("not a number",)


def test_data_that_make_no_sense_to_the_server_are_an_error_at_once(node, server):
    with pytest.raises(RemoteError, match="not a number") as caught:
        node.call("echo", Spoilt(), timeout=20)
    assert caught.value.type == "DecodeError"
    assert node.call("echo", 1) == 1


def test_an_answer_that_makes_no_sense_is_raised_by_its_own_request_only(node):
    with Node("other") as other:
        other.on_request(lambda seconds: time.sleep(seconds) or Spoilt())
        other.register_service("plain", lambda data: data)
        with pytest.raises(DecodeError, match="not a number"):
            node.request("other", 0)
        with pytest.raises(Timeout):
            node.request("other", 0.2, timeout=0.05)
        time.sleep(0.4)
        assert node.call("plain", 1) == 1
        assert node.statistics.late_replies == 1


def test_a_request_that_cannot_travel_raises_here(node, server):
    with pytest.raises((EncodeError, TypeError)):
        node.call("echo", threading.Lock())
    assert node.call("echo", 1) == 1


def test_no_provider(node):
    with pytest.raises(NoProvider, match="'nothing'"):
        node.call("nothing")


def test_an_unregistered_service_has_no_provider(node):
    node.register_service("brief", lambda data: data)
    assert node.call("brief", 1) == 1
    assert node.unregister_service("brief") is True
    assert node.unregister_service("brief") is False
    with pytest.raises(NoProvider):
        node.call("brief", 1)


def test_an_unknown_target_is_not_found(node):
    for ask in (node.request, node.send, node.ping):
        with pytest.raises(NotFound, match="'nobody'"):
            ask("nobody")


def test_a_node_without_a_request_handler_says_so(node):
    with pytest.raises(RemoteError, match="no handler for requests"):
        node.request("tester", 1)


def test_a_late_reply_is_dropped_and_counted_and_never_answers_another_request(node, server):
    with pytest.raises(Timeout, match="'server'"):
        node.call("sleep", 0.3, timeout=0.05)
    # On the same line, while the late reply is on its way:
    assert node.call("sleep", 0.6) == 0.6
    assert node.statistics.late_replies == 1
    with pytest.raises(Timeout):
        node.call("sleep", 0.2, timeout=0.05)
    node.call("sleep", 0.4)
    assert node.statistics.late_replies == 2
    assert node.statistics.timeouts == 2


def test_a_late_reply_is_counted_without_another_request(node, server):
    with pytest.raises(Timeout):
        node.call("sleep", 0.2, timeout=0.05)
    deadline = time.monotonic() + 10
    while node.statistics.late_replies == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert node.statistics.late_replies == 1


def test_a_handler_of_notifications_that_raises_does_not_stop_the_node(node):
    seen = []
    hook, threading.excepthook = threading.excepthook, lambda args: seen.append(args.exc_value)
    try:
        node.on_notification(lambda message: 1 / 0)
        node.send("tester", 1)
        node.on_request(lambda data: data)
        with Node("other") as other:
            while not node.statistics.errors:
                assert other.request("tester", 5) == 5
    finally:
        threading.excepthook = hook
    assert isinstance(seen[0], ZeroDivisionError)


@pytest.mark.parametrize(
    "arguments, error",
    [({"name": 3}, TypeError), ({"name": ""}, ValueError),
     ({"name": "n", "workers": 0}, ValueError),
     ({"name": "n", "workers": 1.5}, TypeError)],
)  # fmt: skip
def test_bad_arguments_are_refused(namespace, arguments, error):
    with pytest.raises(error):
        Node(**arguments)


def test_bad_handlers_services_targets_and_timeouts_are_refused(node, server):
    with pytest.raises(TypeError):
        node.on_request("not callable")
    with pytest.raises(TypeError):
        node.register_service("s", "not callable")
    with pytest.raises(ValueError):
        node.register_service("", len)
    with pytest.raises(TypeError):
        node.request(5)
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError):
            node.call("echo", 1, timeout=timeout)
    with pytest.raises(ValueError):
        node.call("echo", 1, strategy="best")
    assert node.call("echo", 1) == 1


# -- choosing -----------------------------------------------------------------------------------


def test_round_robin_and_random_reach_both_servers(node):
    with Server("a"), Server("b"):
        names = [node.call("name") for _ in range(8)]
        assert names == ["a", "b"] * 4 or names == ["b", "a"] * 4
        assert {node.call("name", strategy="random") for _ in range(60)} == {"a", "b"}


# -- dying --------------------------------------------------------------------------------------


def call_and_kill(node, server):
    """Kill the server under a call; returns (seconds until it was told, its exception)."""
    begun = threading.Event()
    node.on_notification(lambda message: begun.set())
    outcome = []

    def call():
        try:
            outcome.append(node.call("hang", "tester", timeout=20))
        except Exception as error:
            outcome.append((time.monotonic(), error))

    caller = threading.Thread(target=call)
    caller.start()
    assert begun.wait(10)
    killed = time.monotonic()
    server.kill()
    caller.join(20)
    when, error = outcome[0]
    return when - killed, error


def test_the_caller_of_a_killed_server_is_told_at_once(node):
    took = []
    for number in range(5):
        with Server(f"victim-{number}") as server:
            seconds, error = call_and_kill(node, server)
        assert isinstance(error, PeerDied), error
        assert isinstance(error, BrokenPipeError)
        assert f"victim-{number}" in str(error)
        took.append(seconds)
    assert sorted(took)[2] < 0.1, took
    assert node.statistics.peers_died == 5


def test_a_killed_server_is_skipped_and_leaves_nothing(node, namespace_folder):
    with Server("victim") as victim, Server("survivor") as survivor:
        assert {node.call("pid") for _ in range(2)} == {victim.pid, survivor.pid}
        victim.kill()
        victim.process.wait()
        assert [node.call("pid") for _ in range(4)] == [survivor.pid] * 4
        assert node.registry.find_by_name("victim") is None
        with pytest.raises(NotFound):
            node.request(victim.id)
        assert f"node-{victim.id}" not in os.listdir(namespace_folder)


def test_when_all_are_dead_there_is_no_provider(node, server):
    server.kill()
    server.process.wait()
    with pytest.raises(NoProvider):
        node.call("echo", 1)


def test_a_stopped_server_is_waited_for_and_never_called_dead(node, server):
    assert node.call("echo", 1) == 1
    os.kill(server.pid, signal.SIGSTOP)
    # The signal is on its way; the process is stopped when the kernel says so.
    os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        with pytest.raises(Timeout):
            node.call("echo", 2, timeout=0.4)
        assert node.registry.find(server.id) is not None
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert node.call("echo", 3) == 3


def test_under_a_storm_of_kills_every_call_ends_in_its_answer_or_in_peer_died(node):
    outcomes = Counter()
    over = threading.Event()

    def ask(thread):
        number = 0
        while not over.is_set():
            number += 1
            try:
                got = node.call("echo", [thread, number], timeout=15)
                outcomes["right" if got == [thread, number] else "wrong"] += 1
            except PeerDied:
                outcomes["died"] += 1
            except NoProvider:
                over.wait(0.001)
            except Exception as error:
                outcomes[repr(error)] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    with Server("steady"):
        for thread in threads:
            thread.start()
        for number in range(8):
            with Server(f"victim-{number}") as victim:
                time.sleep(0.05)
                victim.kill()
        over.set()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert set(outcomes) <= {"right", "died"}, outcomes
    assert outcomes["right"] > 100
    assert {info.name for info in node.registry.processes()} == {"tester"}


def test_a_server_lets_go_of_the_reply_queues_of_clients_that_have_gone(namespace_folder):
    with Node("server", workers=1) as server:
        server.on_request(lambda data: data)
        for number in range(100):
            with Node(f"client-{number}", workers=1) as client:
                assert client.request("server", number) == number
        assert len(server._crew._reply_queues) <= 20
    left = [name for name in os.listdir(namespace_folder) if name.startswith("reply-")]
    assert left == []


CLIENT = """
node = ipcsys.Node(f"client-{sys.argv[1]}", workers=1).start()
say(node.id)
say(node.call("double", int(sys.argv[1])))
hear()
"""


def test_a_server_goes_on_while_its_clients_are_killed_and_nothing_of_theirs_stays(
    namespace, namespace_folder
):
    with Node("server", workers=1) as server:
        server.register_service("double", lambda number: 2 * number)
        ids = []
        for number in range(10):
            with Child(CLIENT, number) as client:
                ids.append(client.hear())
                client.expect(str(2 * number))
                client.kill()
        assert [info.name for info in server.registry.processes()] == ["server"]
        left = [name for name in os.listdir(namespace_folder) if any(id in name for id in ids)]
        assert left == [], "the names of the dead are free once one of them was looked for"
        with Child(CLIENT, 21) as client:  # the last thing the server held of them goes now
            client.hear()
            client.expect("42")
            held = set(server._crew._reply_queues)
            assert not any(id in name for id in ids[:-3] for name in held), held
            client.say()
    server.close()


# -- starting and stopping ------------------------------------------------------------------------


def test_a_shutdown_message_stops_the_node_that_receives_it(node, server):
    node.send("server", type=MessageType.SHUTDOWN)
    assert server.process.wait(timeout=10) == 0
    assert node.registry.find_by_name("server") is None


def test_a_node_that_is_not_started_cannot_ask(namespace):
    node = Node("idle")
    with pytest.raises(Closed, match="'idle' is not running"):
        node.call("x")
    assert node.stop() is True and node.wait() is True
    assert node.registry.processes() == []


def test_a_stopped_node_is_out_of_the_registry_and_may_start_again(namespace, namespace_folder):
    node = Node("phoenix")
    node.register_service("echo", lambda data: data)
    with node:
        first = node.id
        assert node.call("echo", 1) == 1
        assert node.start() is node
    assert not node.running
    assert node.registry.find(first) is None
    assert node.registry.services() == {}
    with node:
        assert node.id != first
        assert node.call("echo", 2) == 2
    left = [name for name in os.listdir(namespace_folder) if name.startswith(("node-", "reply-"))]
    assert left == []


def test_stop_lets_the_handlers_finish_and_answers_what_lies_in_the_inbox(namespace):
    with Node("asker") as asker, Node("server", workers=1) as server:
        server.on_request(lambda seconds: time.sleep(seconds) or "done")
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(asker.request, "server", 0.2) for _ in range(3)]
            while server.statistics.received == 0 or asker.statistics.requests < 3:
                time.sleep(0.005)
            assert server.stop() is True
            assert [future.result(10) for future in asked] == ["done"] * 3


def test_stop_with_a_timeout_says_when_a_handler_still_runs(namespace):
    release = threading.Event()
    with Node("asker") as asker, Node("slow") as slow:
        slow.on_request(lambda data: release.wait(10))
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(asker.request, "slow")
            while slow.statistics.received == 0:
                time.sleep(0.005)
            assert slow.stop(timeout=0.1) is False
            release.set()
            assert slow.stop(timeout=10) is True
            assert asked.result(10) is True


def test_a_handler_may_stop_its_own_node(namespace):
    with Node("asker") as asker:
        node = Node("suicidal").start()
        node.on_request(lambda data: node.stop() and "bye")
        assert asker.request("suicidal") == "bye"
        assert node.wait(10) is True


def test_a_forked_child_owns_none_of_its_parents_nodes(node, server):
    assert node.call("echo", 1) == 1
    code = 1
    child = os.fork()
    if child == 0:
        try:
            try:
                node.call("echo", 2)
            except Closed:
                with node:
                    code = 0 if node.call("echo", 3) == 3 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert node.call("echo", 4) == 4
    assert node.registry.find(node.id) is not None


def test_a_program_that_forgets_to_stop_its_node_ends_all_the_same(namespace):
    script = "from ipcsys import Node; n = Node('x').start(); n.on_request(len); print(n.id)"
    done = subprocess.run(
        [sys.executable, "-c", script], timeout=20, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    with Node("looker") as looker:
        assert looker.registry.find(done.stdout.strip()) is None


def test_statistics_are_immutable_and_add_up(node, server):
    for number in range(3):
        node.call("echo", number)
    node.send("server", 1)
    with pytest.raises(RemoteError):
        node.call("fail", "x")
    counted = node.statistics
    assert (counted.requests, counted.replies, counted.sent) == (4, 4, 1)
    with pytest.raises(AttributeError):
        counted.sent = 7
