# SPDX-License-Identifier: Apache-2.0
"""The registry and discovery, from within one process and beside others that die."""

import os
import pickle
import re
import subprocess
import sys
import time

import pytest

from ipcsys import Error, NoProvider, NotFound, ProcessInfo, Registry, ServiceDiscovery


@pytest.fixture
def registry(namespace):
    with Registry() as registry:
        yield registry


def test_what_is_registered_is_found_by_id_and_by_name(registry):
    before = time.time()
    info = registry.register("worker", queue="inbox", properties={"gpu": 2})
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", info.id
    )
    for found in (
        registry.find(info.id),
        registry.find_by_name("worker"),
        Registry().find(info.id),
    ):
        assert found == info
        assert (found.name, found.pid, found.queue) == ("worker", os.getpid(), "inbox")
        assert found.properties == {"gpu": 2}
        assert before <= found.started <= found.heartbeat <= time.time()


def test_what_is_not_registered_is_none(registry):
    assert registry.find("no such id") is None
    assert registry.find_by_name("nobody") is None
    assert registry.processes() == []
    assert registry.services() == {}


def test_of_several_with_one_name_the_first_is_found(registry):
    first, second = registry.register("twin"), registry.register("twin")
    other = registry.register("other")
    assert registry.find_by_name("twin") == first
    assert registry.processes("twin") == [first, second]
    assert registry.processes() == [first, second, other]


def test_unregistering_takes_the_process_and_its_services_out(registry):
    one, two = registry.register("one"), registry.register("two")
    registry.register_service("shared", one.id)
    registry.register_service("shared", two.id)
    registry.register_service("own", one.id)
    assert registry.unregister(one.id) is True
    assert registry.unregister(one.id) is False
    assert registry.find(one.id) is None
    assert registry.services() == {"shared": {two.id: {}}}


def test_a_heartbeat_moves_the_time_and_nothing_else(registry):
    info = registry.register("worker")
    assert registry.heartbeat(info.id) is True
    later = registry.find(info.id)
    assert later.heartbeat > info.heartbeat
    assert (later.started, later.name) == (info.started, info.name)
    assert registry.heartbeat("no such id") is False
    assert registry.find("no such id") is None


def test_a_service_has_several_providers_each_with_its_properties(registry):
    one, two = registry.register("one"), registry.register("two")
    registry.register_service("calc", one.id, {"fast": True})
    registry.register_service("calc", two.id)
    assert registry.services() == {"calc": {one.id: {"fast": True}, two.id: {}}}
    assert registry.unregister_service("calc", one.id) is True
    assert registry.unregister_service("calc", one.id) is False
    assert registry.providers("calc") == [two]


def test_only_the_registered_can_offer_a_service(registry):
    with pytest.raises(NotFound, match="no process 'stranger'"):
        registry.register_service("calc", "stranger")
    assert registry.services() == {}


@pytest.mark.parametrize("name, error", [(None, TypeError), (3, TypeError), ("", ValueError)])
def test_a_bad_name_is_refused(registry, name, error):
    with pytest.raises(error):
        registry.register(name)
    assert registry.processes() == []


def test_a_process_info_does_not_change_and_travels(registry):
    info = registry.register("worker", properties={"a": 1})
    with pytest.raises(AttributeError):
        info.name = "other"
    with pytest.raises(AttributeError):
        del info.name
    copy = pickle.loads(pickle.dumps(info))
    assert isinstance(copy, ProcessInfo)
    assert copy == info and hash(copy) == hash(info)
    assert copy.properties == {"a": 1}
    assert info != "something else"


def test_round_robin_takes_turns(registry):
    infos = [registry.register(f"p{n}") for n in range(3)]
    for info in infos:
        registry.register_service("calc", info.id)
    discovery = ServiceDiscovery(registry)
    assert [discovery.choose("calc") for _ in range(7)] == (infos * 3)[:7]


def test_random_reaches_everybody(registry):
    infos = [registry.register(f"p{n}") for n in range(3)]
    for info in infos:
        registry.register_service("calc", info.id)
    discovery = ServiceDiscovery(registry)
    assert {discovery.choose("calc", strategy="random") for _ in range(200)} == set(infos)


def test_choosing_sees_a_change_made_through_another_handle(registry):
    discovery = ServiceDiscovery(registry)
    with pytest.raises(NoProvider, match="'calc'"):
        discovery.choose("calc")
    other = Registry()
    info = other.register("late")
    other.register_service("calc", info.id)
    assert discovery.choose("calc") == info
    assert discovery.services() == ["calc"]
    other.unregister(info.id)
    with pytest.raises(NoProvider):
        discovery.choose("calc")


def test_no_provider_is_an_error_and_a_lookup_error():
    assert issubclass(NoProvider, Error) and issubclass(NoProvider, LookupError)


def test_an_unknown_strategy_is_refused(registry):
    with pytest.raises(ValueError, match="round_robin, random"):
        ServiceDiscovery(registry).choose("calc", strategy="fastest")


def test_namespaces_do_not_see_each_other(registry, namespace):
    registry.register("here")
    assert Registry(namespace + "-other").processes() == []


REGISTER_AND_WAIT = """
import sys
from ipcsys import Registry
registry = Registry()
info = registry.register("victim")
registry.register_service("calc", info.id)
print(info.id, flush=True)
sys.stdin.read()
"""


def test_the_dead_are_not_in_any_answer(registry):
    survivor = registry.register("survivor")
    registry.register_service("calc", survivor.id)
    discovery = ServiceDiscovery(registry)
    with subprocess.Popen(
        [sys.executable, "-c", REGISTER_AND_WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as child:  # fmt: skip
        victim = child.stdout.readline().strip()
        assert {info.id for info in registry.providers("calc")} == {survivor.id, victim}
        assert {discovery.choose("calc").id for _ in range(2)} == {survivor.id, victim}
        child.kill()
        child.wait()
        assert [discovery.choose("calc").id for _ in range(4)] == [survivor.id] * 4
        assert registry.find(victim) is None
        assert registry.find_by_name("victim") is None
        assert registry.processes() == [survivor]
        assert registry.services() == {"calc": {survivor.id: {}}}
        # Not only left out: cleared away.
        assert victim not in registry._processes


def test_one_that_ended_without_a_word_disappears_too(registry):
    subprocess.run([sys.executable, "-c", REGISTER_AND_WAIT], input="", text=True, timeout=20,
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    assert registry.processes() == []
    assert registry.services() == {}
