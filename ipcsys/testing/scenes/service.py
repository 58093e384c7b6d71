# SPDX-License-Identifier: Apache-2.0
"""The registry, discovery, and nodes that ask and answer each other."""

import shutil

import ipcsys
from ipcsys import _core
from ipcsys.message import MessageType
from ipcsys.node.client import Client, node_of_line
from ipcsys.registry import remove_queue
from ipcsys.testing.scenes.common import die_holding, sound, state_of
from ipcsys.testing.sweeping import Scene

SOON = 50.0  # single steps through all of a request take a while on a busy machine


class _Registered(Scene):
    """A registry of its own in which the survivor is "old" and offers "work"."""

    own_namespace = True
    long = True
    deadline = SOON + 10

    def create(self):
        self.registry = ipcsys.Registry()
        self.old = self.registry.register("old", properties={"n": 1}, id="id-of-old")
        self.registry.register_service("work", self.old.id)

    def attach(self):
        self.registry = ipcsys.Registry()
        self.old = self.registry.find("id-of-old")

    def usable(self):
        """What is asked of every registry; it changes nothing that scenes look at."""
        registry = self.registry
        sound()
        own = registry.register("own")
        registry.register_service("own work", own.id, {"p": 2})
        assert [info.id for info in registry.providers("own work")] == [own.id]
        assert registry.heartbeat(own.id) and registry.find(own.id).heartbeat >= own.heartbeat
        assert registry.unregister(own.id) and registry.find(own.id) is None
        assert "own work" not in registry.services()
        assert registry._segment.check() == []

    def remove(self):
        self.registry.close()
        folder = _core.folder()
        shutil.rmtree(folder)


class Open(_Registered):
    name = "registry.open the first"

    def create(self):
        _core.owner()

    attach = create

    def operation(self):
        return (ipcsys.Registry,)

    def verify(self, first, finished):
        self.registry = ipcsys.Registry()
        self.usable()
        assert self.registry.processes() == []


class Register(_Registered):
    """Whole or not at all; and found dead at once, since it is."""

    name = "registry.register"

    def operation(self):
        return self.registry.register, "new"

    def verify(self, first, finished):
        known = [record[0] for record in self.registry._processes.values()]
        assert set(known) <= {"old", "new"} and (not first or "new" in known or not finished)
        assert [info.name for info in self.registry.processes()] == ["old"]
        self.usable()
        return "after" if "new" in known else "before"


class Unregister(_Registered):
    name = "registry.unregister"

    def operation(self):
        return self.registry.unregister, "id-of-old"

    def verify(self, first, finished):
        there = self.registry.find("id-of-old") is not None
        assert ("work" in self.registry.services()) == there, "half of it is gone"
        assert not there or not (first and finished)
        self.usable()
        return "before" if there else "after"


class Heartbeat(_Registered):
    name = "registry.heartbeat"

    def operation(self):
        return self.registry.heartbeat, self.old.id

    def verify(self, first, finished):
        found = self.registry.find(self.old.id)
        assert (found.name, found.properties) == ("old", {"n": 1})
        assert found.heartbeat > found.started or not (first and finished)
        self.usable()
        return "after" if found.heartbeat > found.started else "before"


class Offer(_Registered):
    name = "registry.register_service"

    def operation(self):
        return self.registry.register_service, "more", self.old.id, {"speed": 3}

    def verify(self, first, finished):
        offers = self.registry.services()
        assert offers["work"] == {self.old.id: {}}
        assert offers.get("more") in (None, {self.old.id: {"speed": 3}})
        assert "more" in offers or not (first and finished)
        self.usable()
        return "after" if "more" in offers else "before"


class Withdraw(_Registered):
    name = "registry.unregister_service"

    def operation(self):
        return self.registry.unregister_service, "work", self.old.id

    def verify(self, first, finished):
        offers = self.registry.services()
        assert offers in ({}, {"work": {self.old.id: {}}}), offers
        assert offers == {} or not (first and finished)
        assert self.registry.find(self.old.id) is not None
        self.usable()
        return "before" if offers else "after"


class Bury(_Registered):
    """The victim finds a dead provider and dies clearing it away."""

    name = "registry.clear away the dead"

    def attach(self):
        self.registry = ipcsys.Registry()

    def operation(self):
        die_holding(self.live)
        return self.registry.providers, "work"

    def live(self):
        self.inbox = ipcsys.Queue(name="inbox-of-the-dead", create=True, cleanup="last")
        self.line = ipcsys.Queue(name="reply-id-of-the-dead-0", create=True, cleanup="last")
        info = self.registry.register("dead", queue=self.inbox.name, id="id-of-the-dead")
        self.registry.register_service("work", info.id)

    def verify(self, first, finished):
        assert [info.id for info in self.registry.providers("work")] == ["id-of-old"]
        assert list(self.registry._processes) == ["id-of-old"]
        self.usable()
        sound()
        names = [facts["name"] for facts in _core.objects()]
        assert names == ["ipcsys.registry"], f"of the dead stayed: {names}"


class Find(_Registered):
    name = "registry.find"

    def operation(self):
        return self.look, self.registry

    @staticmethod
    def look(registry):
        found = registry.find("id-of-old")
        assert registry.find_by_name("old") == found
        assert ipcsys.ServiceDiscovery(registry).choose("work") == found

    def verify(self, first, finished):
        assert self.registry.find_by_name("old").id == "id-of-old"
        self.usable()


class _Serving(_Registered):
    """The survivor is a node that serves; the victim asks it."""

    def create(self):
        self.node = ipcsys.Node("server", workers=2)
        self.heard = []
        self.node.on_notification(lambda message: self.heard.append(message.data))
        self.node.register_service("double", lambda number: 2 * number)
        self.node.start()
        self.registry = self.node.registry

    def attach(self):
        self.registry = ipcsys.Registry()
        self.server = self.registry.find_by_name("server")
        self.me = self.registry.register("asker")
        self.client = Client(self.registry, self.me.id)

    def verify(self, first, finished):
        server = self.registry.find_by_name("server")
        client = Client(self.registry, f"own-{_core.owner()}")
        headers = {"service": "double"}
        assert client.ask(server, MessageType.REQUEST, 21, headers, SOON) == 42
        client.close()
        living = {info.id for info in self.registry.processes()}
        lines = [facts["name"] for facts in _core.objects() if facts["name"].startswith("reply-")]
        stayed = [name for name in lines if not name.startswith("reply-own-")]
        stayed = [name for name in stayed if node_of_line(name) not in living]
        assert stayed == [], f"reply queues of the dead stayed: {stayed}"
        self.usable()

    def remove(self):
        self.node.stop()
        super().remove()


class Send(_Serving):
    name = "node.send"

    def operation(self):
        return self.client.send, self.server, MessageType.NOTIFICATION, "news", None, SOON

    def verify(self, first, finished):
        super().verify(first, finished)
        if hasattr(self, "heard"):
            # One worker may still be at it while the other answered us.
            assert self.heard in ([], ["news"])


class Ask(_Serving):
    """Request or call: they differ in who chooses the node."""

    name = "node.request"

    def operation(self):
        headers = {"service": "double"}
        return self.client.ask, self.server, MessageType.REQUEST, 4, headers, SOON


class AskAgain(Ask):
    """With its line and the server's inbox open already."""

    name = "node.request again"

    def attach(self):
        super().attach()
        self.client.ask(self.server, MessageType.REQUEST, 1, {"service": "double"}, SOON)


class Start(_Serving):
    """A node that dies while it starts or stops is in nobody's way."""

    name = "node.start and stop"

    def attach(self):
        self.registry = ipcsys.Registry()
        self.other = ipcsys.Node("other", workers=1)
        self.other.register_service("double", lambda number: "not by me")

    def operation(self):
        return (self.start_and_stop,)

    def start_and_stop(self):
        self.other.start()
        self.other.stop(SOON)

    def verify(self, first, finished):
        assert [info.name for info in self.registry.providers("double")] == ["server"]
        super().verify(first, finished)
        sound()
        nodes = [facts["name"] for facts in _core.objects() if facts["name"].startswith("node-")]
        assert len(nodes) == 1, f"an inbox of the dead stayed: {nodes}"


class Answer(_Registered):
    """The victim is the server; the survivor waits for its answer and gets it,
    or hears at once that the server died."""

    name = "node.answer a request"

    def attach(self):
        self.registry = ipcsys.Registry()

    def operation(self):
        self.inbox = ipcsys.Queue(name="inbox-of-the-victim", create=True, cleanup="last")
        desk = _core.Desk(self.inbox)
        self.registry.register("victim", queue=self.inbox.name, id="id-of-the-victim")
        return self.serve, desk

    @staticmethod
    def serve(desk):
        request = _core.Message.from_bytes(desk.get())
        answer = _core.Message(
            MessageType.RESPONSE, request.data + 1, sender="v", correlation_id=request.id
        )
        line = ipcsys.Queue(name=request.reply_to, create=False)
        line.put_bytes(answer.to_bytes())
        line.close()

    def meanwhile(self, victim):
        self.answer = self.ask(victim)

    def ask(self, victim):
        """The answer, or "dead"."""
        client = Client(self.registry, "id-of-the-survivor")
        try:
            info = None
            while info is None:
                if state_of(victim) in ("", "Z", "X"):
                    return "dead"
                info = self.registry.find("id-of-the-victim")
            return client.ask(info, MessageType.REQUEST, 1, None, SOON)
        except ipcsys.PeerDied:
            return "dead"
        finally:
            client.close()

    def verify(self, first, finished):
        if hasattr(self, "answer"):
            assert self.answer in (2, "dead")
            assert self.answer == 2 or not finished
        assert self.registry.find("id-of-the-victim") is None
        self.usable()
        remove_queue("inbox-of-the-victim", self.registry.namespace)
