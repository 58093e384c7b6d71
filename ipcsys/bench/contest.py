# SPDX-License-Identifier: Apache-2.0
"""Contenders take turns at one work: A B C A B C, so that a noisy minute hits all of them."""

import contextlib
import itertools

from ipcsys.bench.figures import Latency, Spread
from ipcsys.bench.pairs import Failed, Pair
from ipcsys.bench.report import Row


class Contender:
    """One participant in one work; subclasses start what they need and measure once per turn."""

    who = ""
    note = ""
    lossy = False
    reference = False

    def open(self):
        """Start the processes; ends with everything warm."""

    def measure(self):
        """One sample: a number, or a list of nanoseconds where the row shows a distribution."""
        raise NotImplementedError

    def close(self):
        """End the processes and remove what they leave."""

    def row(self, samples):
        return self._row(spread=Spread.of(samples))

    def failed(self, why):
        return self._row(failed=why)

    def _row(self, **facts):
        return Row(
            who=self.who, note=self.note, lossy=self.lossy, reference=self.reference, **facts
        )


class Timed(Contender):
    """A contender whose samples are lists of nanoseconds; its figure is their median."""

    def row(self, samples):
        medians = [Latency.of_nanoseconds(sample).p50 for sample in samples]
        pooled = Latency.of_nanoseconds(list(itertools.chain.from_iterable(samples)))
        return self._row(spread=Spread.of(medians), latency=pooled)


class OnSource(Contender):
    """A contender whose processes get their object from a source that was pickled to them."""

    def __init__(self, kind, cpus):
        self.who, self._kind, self._cpus = kind.who, kind, cpus
        self.reference = getattr(kind, "reference", False)
        self._source = self._pair = None

    def _start(self, sides_of):
        self._source = self._kind()
        self._pair = Pair(*sides_of(self._source), self._cpus)

    def close(self):
        if self._pair is not None:
            self._pair.close()
        if hasattr(self._source, "close"):
            self._source.close()


class Idle:
    """The other side of a pair where the first works alone."""

    def open(self):
        pass

    def run(self):
        pass

    def close(self):
        pass


def compete(contenders, repeats, listener):
    """One row for each contender, in their order; who fails is named and the rest go on."""
    samples = {contender: [] for contender in contenders}
    failures = {}
    with contextlib.ExitStack() as stack:
        for contender in contenders:
            stack.callback(contender.close)
            _attempt(contender, contender.open, failures)
        for _ in range(repeats):
            for contender in contenders:
                if contender not in failures:
                    listener.listen()
                    sample = _attempt(contender, contender.measure, failures)
                    samples[contender].append(sample)
    return tuple(
        contender.failed(failures[contender])
        if contender in failures
        else contender.row(samples[contender])
        for contender in contenders
    )


def _attempt(contender, action, failures):
    try:
        return action()
    except Failed as error:
        failures[contender] = str(error)
    except Exception as error:  # one that cannot even start must not end the contest
        failures[contender] = f"{type(error).__name__}: {error}"
    return None
