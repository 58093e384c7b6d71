# SPDX-License-Identifier: Apache-2.0
"""One operation, killed at many points, each in fresh processes.

For each point four processes play:

    the stage       single-threaded, has imported everything and joined nothing;
                    forks the others, so each of them finds the same memory
    the survivor    makes the objects before the victim comes, and stays
    the victim      opens them, steps itself through the operation, dies
    the newcomer    opens them when the victim is dead

Survivor and newcomer in turn (which one first alternates) check the objects,
finish an operation of their own before a deadline and ask the scene's oracle.
`sweep` runs the stage in a process of its own, which survives being stuck.
"""

import contextlib
import faulthandler
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field

from ipcsys._stepper import step
from ipcsys.testing import stepping

LATE = 8.0  # seconds that any one answer may take
LATE_END = 60.0  # seconds that a victim may take; LONG where it goes a long way in steps
LONG = 600.0
_PR_SET_PDEATHSIG = 1


class Scene:
    """An operation to kill.  Subclasses say how; `tag` is a name of this
    point's own, for its objects.  What a process makes it keeps on self: every
    process has its own copy of the scene."""

    name = ""
    library = None  # whose instructions count; None: the core's
    own_namespace = False  # every point in a namespace of its own
    long = False  # too long for single steps, unless all points are asked for
    monotone = True  # one store commits: never "before" again after "after"
    deadline = LATE

    tag = "scene"
    survivor = 0  # its pid, for the victim

    def create(self):
        """The survivor makes the objects."""

    def attach(self):
        """Victim and newcomer open them."""

    def operation(self):
        """In the victim, attached: (callable, *args) of what is killed."""
        raise NotImplementedError

    def meanwhile(self, victim):
        """The survivor's part while the victim (a pid) runs, where it has one."""

    def verify(self, first, finished):
        """In survivor and newcomer: raise AssertionError if anything is wrong.
        The first of the two returns "before" or "after": whether the victim's
        operation took place.  `finished`: the victim saw it return."""
        raise NotImplementedError

    def remove(self):
        """The survivor takes the objects away."""


@dataclass
class Report:
    name: str
    points: int = 0
    steps: int = 0  # instructions of the operation
    events: int = 0  # stores to shared memory and system calls of it
    before: int = 0
    after: int = 0
    beyond: int = 0  # points past the end
    slowest: float = 0.0  # seconds until a survivor was through
    seconds: float = 0.0
    failures: list = field(default_factory=list)  # ["step 7" or "event 3", what]

    def line(self):
        found = f"{len(self.failures)} FAILED" if self.failures else "ok"
        return (
            f"{self.name}: {self.points} kills, {self.steps} instructions, "
            f"{self.events} events, before {self.before}, after {self.after}, "
            f"slowest survivor {self.slowest * 1e3:.1f} ms, {self.seconds:.1f} s: {found}"
        )


class Stuck(Exception):
    pass


class _Actor:
    """A forked process that plays one part and answers in JSON lines."""

    def __init__(self, part):
        here, there = os.pipe(), os.pipe()
        self.log = tempfile.TemporaryFile()
        self.pid = os.fork()
        if self.pid == 0:
            self._play(part, there[0], here[1])
        os.close(there[0])
        os.close(here[1])
        self._from, self._to = here[0], there[1]
        self._rest = b""

    def _play(self, part, orders, answers):
        code = 1
        try:
            die_with_parent()
            faulthandler.enable(self.log, all_threads=True)
            part(os.fdopen(orders, "r"), os.fdopen(answers, "w", buffering=1))
            code = 0
        except BaseException:
            self.log.write(traceback.format_exc().encode())
            self.log.flush()
        finally:
            os._exit(code)

    def tell(self, order):
        with contextlib.suppress(BrokenPipeError):
            os.write(self._to, json.dumps(order).encode() + b"\n")

    def hear(self, seconds):
        """The next answer; Stuck where it is late or the process ended."""
        limit = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                os.kill(self.pid, signal.SIGABRT)  # faulthandler writes where it stands
                raise Stuck(f"no answer in {seconds:g} s")
            more = os.read(self._from, 65536)
            if not more:
                raise Stuck("it ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def end(self):
        """Kill what is left of it; (wait status, what it wrote to its log)."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        os.close(self._from)
        os.close(self._to)
        self.log.seek(0)
        said = self.log.read().decode(errors="replace")
        self.log.close()
        return status, said

    def wait(self, seconds):
        """Its wait status and log once it ended by itself; Stuck where it does not."""
        descriptor = os.pidfd_open(self.pid)
        try:
            if not select.select([descriptor], [], [], seconds)[0]:
                os.kill(self.pid, signal.SIGABRT)
                time.sleep(0.2)
                raise Stuck(f"still running after {seconds:g} s:\n{self.end()[1]}")
        finally:
            os.close(descriptor)
        return self.end()


def die_with_parent():
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _libc():
    import ctypes

    return ctypes.CDLL(None)


def _survivor(scene):
    def part(orders, answers):
        def say(answer):
            answers.write(json.dumps(answer) + "\n")

        scene.create()
        say("ready")
        for line in orders:
            order, *args = json.loads(line)
            if order == "meanwhile":
                scene.meanwhile(*args)
                say("done")
            elif order == "verify":
                say(_verified(scene, *args))
            elif order == "remove":
                scene.remove()
                say("removed")

    return part


def _newcomer(scene, first, finished):
    def part(_orders, answers):
        scene.attach()
        answers.write(json.dumps(_verified(scene, first, finished)) + "\n")

    return part


def _verified(scene, first, finished):
    started = time.perf_counter()
    try:
        outcome, problem = scene.verify(first, finished), None
    except Exception:
        outcome, problem = None, traceback.format_exc(limit=-3)
    return {"outcome": outcome, "problem": problem, "seconds": time.perf_counter() - started}


def _victim(scene, text, kind, number):
    def part(_orders, answers):
        scene.attach()
        callable, *args = scene.operation()
        shared, args = stepping.shared_memory(), tuple(args)
        if kind == "event":
            length = step(callable, args, None, shared, number)[1]
        else:
            length = step(callable, args, text, None, number)[1]
        answers.write(json.dumps(length) + "\n")

    return part


class Stage:
    """Plays one scene, point by point."""

    def __init__(self, scene):
        self.scene = scene
        self.text = stepping.text_of(scene.library or stepping.core())
        self.namespace = os.environ.get("IPCSYS_NAMESPACE", "default")
        self.number = 0

    def length(self, kind):
        """Of the whole operation, in "step"s or "event"s."""
        length, answer = self._play(kind, 0)
        if length is None or answer["problem"]:
            raise AssertionError(f"{self.scene.name} fails without a kill: {answer['problem']}")
        return length

    def kill(self, kind, number):
        """{"outcome", "beyond", "problem", "seconds"} of one point."""
        return self._play(kind, number)[1]

    def _play(self, kind, stop):
        scene, self.number = self.scene, self.number + 1
        scene.tag = f"{scene.name.replace(' ', '-')}-{os.getpid()}-{self.number}"
        if scene.own_namespace:
            os.environ["IPCSYS_NAMESPACE"] = f"{self.namespace}-{self.number}"
        survivor, victim = _Actor(_survivor(scene)), None
        length, answer = None, None
        patience = LONG if kind == "step" and scene.long else LATE_END
        who = "survivor"
        try:
            survivor.hear(scene.deadline)
            scene.survivor = survivor.pid
            victim = _Actor(_victim(scene, self.text, kind, stop))
            survivor.tell(["meanwhile", victim.pid])
            who = "victim"
            if stop == 0:
                length = victim.hear(patience)
            status, log = victim.wait(patience)
            who = "survivor, meanwhile"
            survivor.hear(scene.deadline)
            answer = {"beyond": status == 0, "problem": None}
            if status not in (0, signal.SIGKILL):
                answer["problem"] = f"the victim ended with status {status}:\n{log}"
            else:
                who = "survivor or newcomer"
                self._ask(survivor, stop, status == 0, answer)
            survivor.tell(["remove"])
            survivor.hear(scene.deadline)
            survivor.end()
        except Stuck as stuck:
            time.sleep(0.2)
            said = survivor.end()[1]
            if victim and victim.pid:
                said += victim.end()[1]
            found = answer and answer["problem"]
            answer = {"beyond": False, "problem": found or f"{who}: {stuck}\n{said}"}
        answer.setdefault("outcome", None)
        answer.setdefault("seconds", 0.0)
        return length, answer

    def _ask(self, survivor, parity, finished, answer):
        """Both of them, who comes first alternating."""
        for turn in (0, 1):
            first = turn == 0
            if (parity + turn) % 2 == 0:
                survivor.tell(["verify", first, finished])
                said, who = survivor.hear(self.scene.deadline), "survivor"
            else:
                newcomer = _Actor(_newcomer(self.scene, first, finished))
                try:
                    said, who = newcomer.hear(self.scene.deadline), "newcomer"
                except Stuck as stuck:
                    time.sleep(0.2)
                    said = {"problem": f"{stuck}\n{newcomer.end()[1]}", "seconds": 0, "outcome": None}
                    who = "newcomer"
                else:
                    newcomer.end()
            if first:
                answer["outcome"] = said["outcome"]
            answer["seconds"] = max(answer.get("seconds", 0.0), said["seconds"])
            if said["problem"]:
                answer["problem"] = f"{who}{', first' if first else ''}: {said['problem']}"
                return


def chosen(points, steps, events):
    """Where to kill, as [kind, number]: "all" instructions; "events", which
    leaves out instructions between which nobody sees a difference; or at most
    so many points of both kinds, spread evenly, and of single steps no more
    than take about half a second."""
    if points == "all":
        return [["step", number] for number in range(1, steps + 2)]
    if points == "events":
        return [["event", number] for number in range(1, events + 2)]
    few = _spread(range(1, events + 2), max(1, points * 2 // 3))
    affordable = _STEPS_A_SECOND // (steps + 1) if steps else 0
    others = _spread(range(1, steps + 2), min(points - len(few), affordable))
    return [["event", number] for number in few] + [["step", number] for number in others]


_STEPS_A_SECOND = 70_000


def _spread(numbers, count):
    if len(numbers) <= count:
        return list(numbers)
    if count <= 1:
        return list(numbers[:count])
    return sorted({numbers[i * (len(numbers) - 1) // (count - 1)] for i in range(count)})


def play(scene, points, seconds=None):
    """Kill a scene at the chosen points, with its stage in this process."""
    started, report, stage = time.monotonic(), Report(scene.name), Stage(scene)
    report.events = stage.length("event")
    if points == "all" or not scene.long:
        report.steps = stage.length("step")
    begun = time.monotonic()
    took_place = {"step": {}, "event": {}}
    for kind, number in _ends_first(chosen(points, report.steps, report.events)):
        answer = stage.kill(kind, number)
        report.points += 1
        report.beyond += answer["beyond"]
        report.slowest = max(report.slowest, answer["seconds"])
        outcome = answer["outcome"]
        if outcome:
            report.before += outcome == "before"
            report.after += outcome == "after"
            took_place[kind][number] = outcome == "after"
        if answer["problem"]:
            report.failures.append([f"{kind} {number}", answer["problem"]])
        report.seconds = time.monotonic() - started
        late = seconds and time.monotonic() > begun + seconds and report.points > 2
        if late or len(report.failures) >= 20:
            break
    for kind in took_place if scene.monotone else ():
        report.failures += _undone(kind, took_place[kind])
    return report


def _ends_first(points):
    """The same points: of each kind the last, then the first, then such as
    halve what is left, so that a bound of time leaves no region out."""
    events = sum(kind == "event" for kind, _number in points)
    ordered, spans = [], []
    for first, last in ((0, events - 1), (events, len(points) - 1)):
        if first <= last:
            ordered += [last, first] if first < last else [last]
            spans.append((first, last))
    for first, last in spans:  # grows as it goes
        middle = (first + last) // 2
        if first < middle < last:
            ordered.append(middle)
            spans += [(first, middle), (middle, last)]
    return [points[index] for index in ordered]


# Reading the clock takes a few instructions more or less.
_SLACK = {"step": 200, "event": 0}


def _undone(kind, took_place):
    """What took place at one point and not at a later one."""
    committed = min((number for number, after in took_place.items() if after), default=None)
    return [
        [f"{kind} {number}", f"took place at {kind} {committed}, and not at this later one"]
        for number, after in sorted(took_place.items())
        if committed is not None and not after and number > committed + _SLACK[kind]
    ]


def find(spec):
    """The scene named by "module:Class"."""
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)()


def sweep(spec, points=60, seconds=None, environment=None):
    """Kill the scene "module:Class" at the chosen points; a Report.  The stage
    is a process of its own, in which IPCSYS_SPIN_NS=0 keeps waits alike."""
    command = [sys.executable, "-m", "ipcsys.testing.sweeping", spec, json.dumps([points, seconds])]
    environment = {**os.environ, "IPCSYS_SPIN_NS": "0", **(environment or {})}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"the stage of {spec} failed:\n{done.stderr[-4000:]}")
    return Report(**json.loads(done.stdout.splitlines()[-1]))


def main():
    spec, choice = sys.argv[1:]
    die_with_parent()
    print(json.dumps(asdict(play(find(spec), *json.loads(choice)))))


if __name__ == "__main__":
    main()
