# SPDX-License-Identifier: Apache-2.0
"""Damaged files: every kind is changed at random, then opened and used.

    python -m ipcsys.testing.hostility --tries 10000
    python -m ipcsys.testing.hostility --live --tries 1000

A namespace is built and its builder killed in the middle.  Each try copies
it, damages one file (bits, words, chunks; cut short; made longer) or goes on
scribbling into it, and lets a process use it.  That process may get right
answers or any of the package's exceptions.  It may not die of a signal, hang,
or raise anything else.  With --live, two processes work on the objects again
and again while somebody scribbles into their file all the time.
"""

import argparse
import contextlib
import json
import mmap
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field

import ipcsys
from ipcsys.testing.actors import die_with_parent
from ipcsys.testing.targets import every
from ipcsys.testing.targets.common import ANSWERS

LATE = 15.0  # seconds until a process counts as hung
LARGEST = 256 << 20  # bytes that any file may grow to
_WORDS = [0, 1, 2, 7, 63, 255, 4095, 4096, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**47,
          2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]  # fmt: skip


@dataclass
class Findings:
    name: str
    tries: int = 0
    refused: int = 0  # ended with one of the package's errors
    seconds: float = 0.0
    failures: list = field(default_factory=list)  # [seed, what]

    def line(self):
        found = f"{len(self.failures)} FAILED" if self.failures else "ok"
        return f"{self.name}: {self.tries} tries, {self.refused} refused, {self.seconds:.1f} s: {found}"


def _fork(part):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent()
        code = part()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _extents(descriptor):
    """Where a file has data: (offset, length)."""
    end, at = os.fstat(descriptor).st_size, 0
    while at < end:
        try:
            first = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole
            return
        at = os.lseek(descriptor, first, os.SEEK_HOLE)
        yield first, at - first


def _memory_of(folder):
    return sum(
        os.lstat(os.path.join(place, name)).st_blocks * 512
        for place, _folders, files in os.walk(folder)
        for name in files
    )


def _copy_file(old, new):
    with open(old, "rb", buffering=0) as source, open(new, "xb", buffering=0) as target:
        os.fchmod(target.fileno(), 0o600)
        target.truncate(os.fstat(source.fileno()).st_size)
        for first, length in list(_extents(source.fileno())):
            os.pwrite(target.fileno(), os.pread(source.fileno(), length, first), first)


def _copy(source, target):
    """A tree with its hard links."""
    made = {}
    for folder, _names, files in os.walk(source):
        there = os.path.normpath(os.path.join(target, os.path.relpath(folder, source)))
        os.makedirs(there, mode=0o700, exist_ok=True)
        for name in files:
            old, new = os.path.join(folder, name), os.path.join(there, name)
            inode = os.lstat(old).st_ino
            if inode in made:
                os.link(made[inode], new)
            else:
                _copy_file(old, new)
                made[inode] = new


def _problem(status):
    """What is wrong with ending like that; None where nothing is."""
    if status is None:
        return f"still running after {LATE:g} s"
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    code = os.WEXITSTATUS(status)
    return None if code in (0, 2) else f"ended with exit status {code}"


class Range:
    """Where one target's tries take place."""

    def __init__(self, target, root):
        self.target, self.root = target, root
        self.pristine = os.path.join(root, f"{target.name}-pristine")
        self._build()
        self.path = os.path.join(self.pristine, target.file)
        self.written, self.words = [], []  # where, and what, words that are not 0
        with open(self.path, "rb", buffering=0) as file:
            self.size = os.fstat(file.fileno()).st_size
            self.extents = list(_extents(file.fileno()))
            for first, length in self.extents:
                words = memoryview(os.pread(file.fileno(), length // 8 * 8, first)).cast("Q")
                found = [(first + index * 8, word) for index, word in enumerate(words) if word]
                self.written += [at for at, _word in found]
                self.words += [word for _at, word in found]
        refused, problem = self.try_one(-4)
        assert not refused and not problem, f"{target.name} fails undamaged: {problem or 'refused'}"

    def _build(self):
        os.environ["IPCSYS_NAMESPACE"] = os.path.basename(self.pristine)
        ready, done = os.pipe()

        def part():
            self.target.build()
            os.write(done, b"1")
            signal.pause()

        pid = _fork(part)
        os.close(done)
        built = os.read(ready, 1)
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert built == b"1", f"{self.target.name} could not be built"

    def try_one(self, seed, at_work=False):
        """(refused, None or what went wrong).  A negative seed damages nothing."""
        dice = random.Random(f"{self.target.name} {seed} {at_work}")
        name = f"{self.target.name}-{seed}"
        folder = os.path.join(self.root, name)
        _copy(self.pristine, folder)
        os.environ["IPCSYS_NAMESPACE"] = name
        path = os.path.join(folder, self.target.file)
        live = at_work or seed % 4 == 3
        if not live and seed >= 0:
            self._damage(path, dice)
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            log = stack.enter_context(tempfile.TemporaryFile("w+b", buffering=0))
            page = None
            if live:
                file = stack.enter_context(open(path, "r+b"))
                page = stack.enter_context(mmap.mmap(file.fileno(), 0))
            play = self.target.work if at_work else self.target.use
            pids = [_fork(lambda: self._use(play, log)) for _ in range(2 if at_work else 1)]
            # Now and then, so that they work on; or all the time.
            pause = dice.choice((0.0002, 0.002, 0.01, 0.04)) if at_work else 0.0002
            ends = self._watch(pids, page, dice, pause)
            log.seek(0)
            said = log.read().decode(errors="replace")
            taken = _memory_of(folder)
        problems = [problem for problem in map(_problem, ends) if problem]
        if taken > LARGEST // 4:
            problems.append(f"it took {taken >> 20} MiB of shared memory")
        refused = any(status is not None and os.WEXITSTATUS(status) == 2 for status in ends)
        return refused, "\n".join([*problems, said]) if problems else None

    def _use(self, play, log):
        import faulthandler

        faulthandler.enable(log)
        # Damage must not fill the machine's memory; what tries it gets EFBIG.
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
        try:
            play()
        except ANSWERS:
            return 2
        except BaseException:
            log.write(traceback.format_exc().encode())
            return 3
        return 0

    def _watch(self, pids, page, dice, pause):
        """Wait for their ends, scribbling into the page meanwhile if there is one:
        wait statuses, None for one that had to be killed."""
        ends, limit = {}, time.monotonic() + LATE
        left = {os.pidfd_open(pid): pid for pid in pids}
        while left and time.monotonic() < limit:
            for descriptor in select.select([*left], [], [], pause if page else LATE)[0]:
                pid = left.pop(descriptor)
                os.close(descriptor)
                ends[pid] = os.waitpid(pid, 0)[1]
            if page:
                self._scribble(page, dice)
        for descriptor, pid in left.items():
            os.kill(pid, signal.SIGABRT)  # faulthandler writes where it stands
            time.sleep(0.2)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(descriptor)
        return [ends.get(pid) for pid in pids]

    def _spot(self, dice, size):
        """Where to hurt: mostly near what was written, at times anywhere."""
        if self.written and dice.random() < 0.85:
            at = dice.choice(self.written) + dice.choice((0, 0, 0, -8, 8, 4))
        elif self.extents and dice.random() < 0.9:
            first, length = dice.choice(self.extents)
            at = first + dice.randrange(length) & ~7
        else:
            at = dice.randrange(size) & ~7
        return max(0, min(size - 8, at))

    def _word(self, dice):
        choice = dice.random()
        if choice < 0.5:
            return dice.choice(_WORDS)
        if choice < 0.7 and self.words:
            return dice.choice(self.words)
        if choice < 0.85:
            return dice.randrange(self.size * 2)
        return dice.getrandbits(64)

    def _scribble(self, bytes_, dice):
        at = self._spot(dice, len(bytes_))
        choice = dice.random()
        if choice < 0.35:
            bytes_[at] ^= 1 << dice.randrange(8)
        elif choice < 0.85:
            width = dice.choice((8, 8, 4, 2))
            bytes_[at : at + width] = self._word(dice).to_bytes(8, "little")[:width]
        else:
            length = min(dice.choice((16, 64, 512, 4096)), len(bytes_) - at)
            source = min(self._spot(dice, len(bytes_)), len(bytes_) - length)
            bytes_[at : at + length] = (
                bytes(length) if dice.random() < 0.5 else bytes_[source : source + length]
            )

    def _damage(self, path, dice):
        with open(path, "r+b") as file:
            if dice.random() < 0.8:
                with mmap.mmap(file.fileno(), 0) as page:
                    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
                        self._scribble(page, dice)
            choice = dice.random()
            if choice < 0.15:
                places = (dice.randrange(self.size + 1), 0, 64, 128, 4096, *self.written)
                file.truncate(min(self.size, dice.choice(places)))
            elif choice < 0.25:
                file.seek(0, os.SEEK_END)
                file.write(dice.randbytes(dice.choice((1, 64, 4096, 100_000))))


def shoot(target, root, tries, first_seed=0, seconds=None, at_work=False):
    """So many tries at one target; the findings."""
    os.environ["IPCSYS_DIR"] = root
    findings, started = Findings(target.name), time.monotonic()
    place = Range(target, root)
    for seed in range(first_seed, first_seed + tries):
        refused, problem = place.try_one(seed, at_work)
        findings.tries += 1
        findings.refused += refused
        findings.seconds = time.monotonic() - started
        if problem:
            findings.failures.append([seed, problem])
        if len(findings.failures) >= 10 or (seconds and findings.seconds > seconds):
            break
    return findings


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m ipcsys.testing.hostility", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--tries", type=int, default=1000, help="at each kind (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first try")
    parser.add_argument("--seconds", type=float, help="at most, for each kind")
    parser.add_argument("--op", default="", metavar="TEXT", help="only kinds so named")
    parser.add_argument("--live", action="store_true", help="damage them while they are used")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args(argv)
    die_with_parent()
    root = tempfile.mkdtemp(prefix="ipcsys-hostile-", dir="/dev/shm")
    failed = False
    try:
        for name, kind in every().items():
            if asked.op in name:
                findings = shoot(
                    kind(), root, asked.tries, asked.seed, asked.seconds, asked.live
                )
                failed = failed or bool(findings.failures)
                print(json.dumps(asdict(findings)) if asked.json else findings.line(), flush=True)
                for seed, what in [] if asked.json else findings.failures:
                    print(f"    {name} with seed {seed}: {what}", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
