# SPDX-License-Identifier: Apache-2.0
"""Random chains of versions of a record against a plain model.

The model is a dict of slots, each with its value, and for each program a map
from its field names to slots; it knows nothing of layouts."""

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import ipcsys
from ipcsys import Record, Segment, field, schema

# Each kind: its types from narrow to wide, and values that the narrowest holds.
LADDERS = {
    "int": ([ipcsys.i8, ipcsys.i16, ipcsys.i32, ipcsys.i64, int], st.integers(-128, 127)),
    "uint": ([ipcsys.u8, ipcsys.u32, ipcsys.u64, int], st.integers(0, 255)),
    "float": ([ipcsys.f32, float, float | None], st.sampled_from([0.0, -1.5, 3.25, float("inf")])),
    "text": ([ipcsys.text[8], ipcsys.text[40], str], st.text("aé", max_size=4)),
    "blob": ([ipcsys.blob[8], bytes, bytes | None], st.binary(max_size=8)),
    "row": ([ipcsys.u8[3], ipcsys.i32[3]], st.tuples(*[st.integers(0, 255)] * 3)),
    "any": ([list], st.lists(st.integers(), max_size=3)),
    "flag": ([bool, bool | None], st.booleans()),
}
SETTINGS = settings(
    max_examples=25, stateful_step_count=25, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


class Undo(Exception):
    pass


class Program:
    """A declaration and a handle; `slots`: {field name: slot of the model}."""

    def __init__(self, version, fields):
        self.version = version
        self.fields = fields  # {name: [kind, rung, default, former name or None]}
        space = {"__annotations__": {}}
        for name, (kind, rung, default, former) in fields.items():
            space["__annotations__"][name] = LADDERS[kind][0][rung]
            space[name] = field(default=default, renamed_from=() if former is None else former)
        self.cls = type("Thing", (Record,), space, version=version)
        self.handle = None
        self.slots = {}


class Evolution(RuleBasedStateMachine):
    @initialize(data=st.data())
    def begin(self, data):
        self.segment = Segment(None, size="1 MiB")
        self.numbers = itertools.count(100)  # the same in each replay
        fields = {}
        for number in range(3):
            kind = data.draw(st.sampled_from(sorted(LADDERS)))
            fields[f"a{number}"] = [kind, 0, data.draw(LADDERS[kind][1]), None]
        first = Program(1, fields)
        first.handle = self.segment.construct(first.cls, "thing")
        self.values = []  # of the slots
        for name, (_kind, _rung, default, _former) in fields.items():
            first.slots[name] = len(self.values)
            self.values.append(default)
        self.programs = [first]

    def teardown(self):
        if hasattr(self, "segment"):
            assert self.segment.check() == []
            self.segment.destroy("thing")
            assert self.segment.check() == []
            self.segment.close()

    def _next(self, data):
        """A version that goes with the last one, and its map of slots."""
        last = self.programs[-1]
        fields, slots = {}, {}
        for name, (kind, rung, default, _former) in last.fields.items():
            fate = data.draw(st.sampled_from(["keep", "keep", "remove", "rename", "widen"]))
            if fate == "remove" and len(last.fields) > 1:
                continue
            rung = min(rung + (fate == "widen"), len(LADDERS[kind][0]) - 1)
            new, former = (f"n{next(self.numbers)}", name) if fate == "rename" else (name, None)
            fields[new] = [kind, rung, default, former]
            slots[new] = last.slots[name]
        for _ in range(data.draw(st.integers(0, 2))):
            kind = data.draw(st.sampled_from(sorted(LADDERS)))
            name = f"n{next(self.numbers)}"
            fields[name] = [kind, 0, data.draw(LADDERS[kind][1]), None]
            slots[name] = None  # a new one
        return Program(last.version + data.draw(st.integers(1, 3)), fields), slots

    def _upgrade(self, program, slots):
        program.handle = self.segment.find("thing", program.cls)
        program.slots = dict(slots)
        for name, slot in slots.items():
            if slot is None:
                program.slots[name] = len(self.values)
                self.values.append(program.fields[name][2])

    @rule(data=st.data())
    def evolve(self, data):
        if len(self.programs) < 7:
            program, slots = self._next(data)
            self._upgrade(program, slots)
            self.programs.append(program)

    @rule(data=st.data())
    def evolve_and_undo(self, data):
        program, slots = self._next(data)
        before = list(self.values)
        try:
            with self.segment.transaction():
                self._upgrade(program, slots)
                self.write(data)
                self.agree()
                raise Undo
        except Undo:
            self.values = before

    @rule(data=st.data())
    def write(self, data):
        program = data.draw(st.sampled_from(self.programs))
        names = data.draw(st.lists(st.sampled_from(sorted(program.fields)), unique=True, min_size=1))
        values = {name: data.draw(LADDERS[program.fields[name][0]][1]) for name in names}
        if len(values) == 1:
            setattr(program.handle, *next(iter(values.items())))
        else:
            program.handle.update(values)
        for name, value in values.items():
            self.values[program.slots[name]] = value

    @rule()
    def find_again(self):
        for program in self.programs:
            program.handle = self.segment.find("thing", program.cls)

    @invariant()
    def agree(self):
        for program in self.programs:
            expected = {name: self.values[slot] for name, slot in program.slots.items()}
            assert program.handle.asdict() == expected
            for name, value in expected.items():
                assert getattr(program.handle, name) == value

    @invariant()
    def the_newest_declaration_is_stored(self):
        stored = self.segment["thing"]._layout()
        assert stored.version == self.programs[-1].version
        for program in self.programs:
            assert schema.Comparison(program.cls, stored).usable


TestEvolution = Evolution.TestCase
TestEvolution.settings = SETTINGS
