# SPDX-License-Identifier: Apache-2.0
"""Records: what their annotations mean, and which versions of them go together.

    class Tick(ipcsys.Record, version=2):
        symbol: str
        price: float = ipcsys.field(renamed_from="last")
        size: ipcsys.u32 = 0

The C side (ipcsys._core.Record) reads and writes fields; it asks this module
to turn a class's annotations into fields (declare), and what to do with a
record that is stored otherwise than its class says (resolve).  The numbers
are those of csrc/codec/schema.h.
"""

import sys

from ipcsys import _core
from ipcsys.errors import SchemaError

__all__ = [
    "blob",
    "f32",
    "f64",
    "field",
    "i8",
    "i16",
    "i32",
    "i64",
    "text",
    "u8",
    "u16",
    "u32",
    "u64",
]

RETIRED, NULLABLE, DEFAULT = 1, 2, 4
SAME, OLDER, NEWER, UNFIT = range(4)
OTHER_NAME, MIGRATED, SAME_VERSION, FIELDS = 1, 2, 4, 8
ADDED, REMOVED, RENAMED, WIDENED, RETYPED, MISSING = 1, 2, 4, 8, 16, 32
NO_DEFAULT, OTHER_TYPE, FATAL = 64, 128, 256
BOOL, F64, TEXT, BLOB, STR, BYTES, INT, ANY, FLOAT, TRUTH = 1, 11, 12, 13, 16, 17, 18, 19, 20, 21
MOST_FIELDS, MOST_FORMER = 1024, 64
_NAMES = {
    BOOL: "bool", 2: "i8", 3: "i16", 4: "i32", 5: "i64", 6: "u8", 7: "u16", 8: "u32", 9: "u64",
    10: "f32", F64: "float", TEXT: "text", BLOB: "blob", STR: "str", BYTES: "bytes", INT: "int",
    ANY: "Any", FLOAT: "float", TRUTH: "bool",
}  # fmt: skip
# Methods of a record; `name` and `closed` may be fields, these not.
_RESERVED = {"asdict", "check", "close", "migration", "remove", "transaction", "update"}


# --- types of fields


class FieldType:
    """A type for annotations: ipcsys.u8, ipcsys.f32[3], ipcsys.text[16]."""

    __slots__ = ("code", "count", "kind", "plain")

    def __init__(self, code, plain, kind="scalar", count=0):
        self.code, self.plain, self.kind, self.count = code, plain, kind, count

    def __getitem__(self, count):
        if self.count:
            raise TypeError(f"{self!r} has its length already")
        if not isinstance(count, int) or not 0 < count <= 1 << 20:
            raise TypeError(f"{self!r}[n] wants a length from 1 to {1 << 20}, not {count!r}")
        return FieldType(self.code, self.plain, self.kind, int(count))

    def __call__(self, *args):
        """The plain Python value."""
        if self.kind == "scalar" and self.count:
            return tuple(self.plain(item) for item in args[0])
        return self.plain(*args)

    def __repr__(self):
        return spelling(self.code, self.count, 0)

    def __or__(self, other):
        raise TypeError(f"{self!r} has no room for None: use float, int, bool, str or bytes")

    __ror__ = __or__

    def __eq__(self, other):
        same = isinstance(other, FieldType)
        return (self.code, self.count) == (other.code, other.count) if same else NotImplemented

    def __hash__(self):
        return hash((self.code, self.count))


# For type checkers a field of these is what reading it gives.
TYPE_CHECKING = False
if TYPE_CHECKING:
    i8 = i16 = i32 = i64 = u8 = u16 = u32 = u64 = int
    f32 = f64 = float
    text, blob = str, bytes
else:
    i8, i16, i32, i64, u8, u16, u32, u64 = (FieldType(code, int) for code in range(2, 10))
    f32, f64 = FieldType(10, float), FieldType(11, float)
    text = FieldType(TEXT, str, "sized")
    blob = FieldType(BLOB, bytes, "sized")


def spelling(code, count, flags):
    """A field's type as one would write it."""
    name = _NAMES.get(code, f"type {code}")
    return f"{name}{f'[{count}]' if count else ''}{' | None' if flags & NULLABLE else ''}"


def _without_none(annotation):
    """(annotation, False), or (X, True) of X | None."""
    kind = type(annotation).__name__
    if kind in ("UnionType", "_UnionGenericAlias", "Union"):
        rest = [part for part in annotation.__args__ if part is not type(None)]
        if len(rest) == 1 and len(annotation.__args__) == 2:
            return rest[0], True
    return annotation, False


def _meaning(annotation):
    """(code, count, flags) of an annotation."""
    annotation, optional = _without_none(annotation)
    for given in getattr(annotation, "__metadata__", ()):  # Annotated[str, ipcsys.text[16]]
        if isinstance(given, FieldType):
            annotation = given
    if isinstance(annotation, FieldType):
        if optional:
            annotation | None
        if annotation.kind == "sized" and not annotation.count:
            raise TypeError(f"{annotation!r} needs a length: {annotation!r}[16]")
        return annotation.code, annotation.count, 0
    plain = {str: STR, bytes: BYTES, int: INT}.get(annotation)
    plain = plain or {float: (F64, FLOAT), bool: (BOOL, TRUTH)}.get(annotation, (ANY, ANY))[optional]
    return plain, 0, NULLABLE if optional and plain != ANY else 0


# Classes made for layouts, by hash.
_GENERICS = {}


# --- declarations


class _Given:
    """What field() was given, until the class is made."""

    __slots__ = ("default", "factory", "former")

    def __init__(self, default, factory, former):
        self.default, self.factory, self.former = default, factory, former


def field(*, default=..., default_factory=None, renamed_from=()):
    """Options of a record's field, in place of its default.

    default: what a new record has where nothing is given, and an old one where
        the field was not stored yet.
    default_factory: a function of no arguments that makes the default.
    renamed_from: the name that the field had in an older version, or a tuple of
        names.

    ValueError where both kinds of default are given.
    """
    if default is not ... and default_factory is not None:
        raise ValueError("give default or default_factory, not both")
    if default_factory is not None and not callable(default_factory):
        raise TypeError("default_factory must be callable")
    former = (renamed_from,) if isinstance(renamed_from, str) else tuple(renamed_from)
    if not all(isinstance(name, str) and name for name in former):
        raise TypeError("renamed_from must be a name or a tuple of names")
    return _Given(default, default_factory, former)


def _caller_names():
    """Names that string annotations may use, beside the module's and the builtins."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return {} if frame is None else dict(frame.f_locals)


def _evaluated(cls, name, annotation, names):
    if not isinstance(annotation, str):
        return annotation
    module = sys.modules.get(cls.__module__)
    space = dict(getattr(module, "__dict__", {}))
    space.update(names)
    try:
        return eval(annotation, space, dict(vars(cls)))
    except Exception as error:
        raise TypeError(f"{cls.__name__}.{name}: cannot tell what {annotation!r} is: {error}") from None


def _is_class_variable(annotation):
    said = annotation if isinstance(annotation, str) else repr(annotation)
    return said.replace("typing.", "").startswith("ClassVar")


def _own_fields(cls, names):
    """{name: (code, count, flags, former names, default, factory, annotation)}"""
    found = {}
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        if _is_class_variable(annotation):
            continue
        if name.startswith("_") or name in _RESERVED:
            raise TypeError(f"{cls.__name__}: a field cannot be called {name!r}")
        annotation = _evaluated(cls, name, annotation, names)
        code, count, flags = _meaning(annotation)
        given = vars(cls).get(name, ...)
        if not isinstance(given, _Given):
            given = _Given(given, None, ())
        if given.default is not ... or given.factory is not None:
            flags |= DEFAULT
        found[name] = (code, count, flags, given.former, given.default, given.factory,
                       spelling(code, count, flags))  # fmt: skip
    return found


def _check_defaults(cls):
    """What a factory makes is checked when it is made."""
    for declared, spec in zip(cls.__record_fields__, cls.__record_declared__.values(), strict=True):
        default = spec[4]
        if default is ...:
            continue
        try:
            _core.check_record_value(declared, default)
        except Exception as error:
            raise type(error)(f"default of {cls.__name__}.{declared.name}: {error}") from None


def declare(cls, *, version=None, name=None):
    """Make the class's annotations its fields; for Record.__init_subclass__."""
    fields = {}
    for base in reversed(cls.__mro__[1:]):
        fields.update(vars(base).get("__record_declared__", {}))
    fields.update(_own_fields(cls, _caller_names()))
    version = getattr(cls, "__record_version__", 1) if version is None else version
    if isinstance(version, bool) or not isinstance(version, int) or not 0 < version < 1 << 31:
        raise ValueError(f"{cls.__name__}: a version is a number from 1 on, not {version!r}")
    _install(cls, name or cls.__name__, version, fields)
    _check_defaults(cls)


def _install(cls, name, version, fields):
    cls.__record_version__ = version
    cls.__record_declared__ = fields
    cls.__record_layout__ = _core.RecordLayout.build(
        name, version, 0,
        tuple((key, *spec[:3], spec[3]) for key, spec in fields.items()),
    )  # fmt: skip
    made = []
    for index, (key, spec) in enumerate(fields.items()):
        code, count, flags, _former, default, factory, said = spec
        fallback = () if default is ... else (default,)
        made.append(
            _core.RecordField(cls, key, index, code, count, flags & ~DEFAULT, fallback, factory, said)
        )
        setattr(cls, key, made[-1])
    cls.__record_fields__ = tuple(made)
    cls.__record_plans__ = {}
    cls.__record_migrations__ = {}
    cls.__match_args__ = tuple(fields)


def generic(layout):
    """A class for what is stored, for those who have no declaration."""
    cls = _GENERICS.pop(layout.hash, None)
    if cls is None:
        fields = {}
        for name, code, count, flags, former in layout.fields:
            if not flags & RETIRED:
                fields[name] = (code, count, flags, former, ..., None, spelling(code, count, flags))
        cls = type(layout.name, (_core.Record,), {"__module__": "ipcsys"})
        _install(cls, layout.name, layout.version, fields)
        cls.__record_generic__ = True
    _GENERICS[layout.hash] = cls  # the one used last comes last
    if len(_GENERICS) > 256:
        del _GENERICS[next(iter(_GENERICS))]
    return cls


# --- versions


def migration(cls, from_version, to_version=None):
    """The decorator that Record.migration() is."""
    to_version = from_version + 1 if to_version is None else to_version
    if not 0 < from_version < to_version <= cls.__record_version__:
        raise ValueError(
            f"a migration of {cls.__name__}, version {cls.__record_version__}, cannot lead from "
            f"{from_version} to {to_version}"
        )

    def register(function):
        if from_version in cls.__record_migrations__:
            raise ValueError(f"{cls.__name__} has a migration from version {from_version} already")
        cls.__record_migrations__[from_version] = (to_version, function)
        return function

    return register


def steps(cls, version):
    """The migrations on the way from a stored version to the class's, in order."""
    found = []
    while version < cls.__record_version__:
        registered = cls.__record_migrations__.get(version)
        if registered is not None:
            found.append(registered)
            version = registered[0]
        else:
            version += 1
    return found


class Change:
    """What became of one field: `.kinds`, `.old`, `.new` and, as text, `str()`."""

    __slots__ = ("fatal", "kinds", "name", "new", "old")
    _KINDS = {
        ADDED: "added", REMOVED: "removed", RENAMED: "renamed", WIDENED: "widened",
        RETYPED: "retyped", MISSING: "missing", NO_DEFAULT: "no default", OTHER_TYPE: "type",
    }  # fmt: skip

    def __init__(self, what, stored, declared):
        self.kinds = [kind for bit, kind in self._KINDS.items() if what & bit]
        self.fatal = bool(what & FATAL)
        self.old = None if stored is None else (stored[0], spelling(*stored[1:4]))
        self.new = None if declared is None else (declared[0], spelling(*declared[1:4]))
        self.name = (self.new or self.old)[0]

    def __str__(self):
        if "no default" in self.kinds:
            return f"{self.name} ({self.new[1]}) is new and has no default"
        if self.old is None:
            return f"{self.name} ({self.new[1]}) is {'added' if 'added' in self.kinds else 'gone'}"
        if self.new is None:
            return f"{self.name} ({self.old[1]}) is removed"
        said = [f"was {self.old[0]}"] if "renamed" in self.kinds else []
        if self.old[1] != self.new[1]:
            said.append(f"{self.old[1]} is stored, {self.new[1]} declared")
        return f"{self.name}: {', '.join(said)}"


class Comparison:
    """A declaration beside what is stored."""

    def __init__(self, cls, stored):
        declared = cls.__record_layout__
        self.cls, self.stored = cls, stored
        self.fit, self.reasons, self.map, changes = declared.compare(stored)
        old, new = stored.fields, declared.fields
        self.changes = [
            Change(what, old[i] if i >= 0 else None, new[j] if j >= 0 else None)
            for what, i, j in changes
        ]
        self.steps = [] if self.fit == OLDER else steps(cls, stored.version)
        self.usable = self.fit != UNFIT or (self.reasons == FIELDS and bool(self.steps))

    def problem(self):
        """Why not, in one sentence; "" where it fits."""
        if self.usable:
            return ""
        name, mine = self.cls.__record_layout__.name, self.cls.__record_version__
        stored = f"{self.stored.name}, version {self.stored.version}"
        if self.reasons & OTHER_NAME:
            return f"a {stored}, is stored, not a {name}"
        if self.reasons & MIGRATED:
            return (
                f"{name} was migrated to version {self.stored.floor}; this program declares "
                f"version {mine}"
            )
        differences = "; ".join(
            str(change)
            for change in self.changes
            if change.fatal or self.reasons & SAME_VERSION
        )
        if self.reasons & SAME_VERSION:
            return (
                f"{stored}, is stored with other fields: {differences}. "
                f"Declare a higher version"
            )
        remedy = "" if mine < self.stored.version else (
            f". Register a migration: @{self.cls.__name__}.migration(from_version="
            f"{self.stored.version})"
        )  # fmt: skip
        return f"{stored}, is stored, version {mine} declared: {differences}{remedy}"


def resolve(record, stored):
    """For a handle that met a layout its class does not know: which stored field
    each declared one is, or None where the record was upgraded meanwhile."""
    comparison = Comparison(type(record), stored)
    if not comparison.usable:
        raise SchemaError(comparison.problem())
    if comparison.fit in (SAME, OLDER):
        return comparison.map
    with _core.Transaction(record):
        stored = record._layout()
        comparison = Comparison(type(record), stored)
        if not comparison.usable:
            raise SchemaError(comparison.problem())
        if comparison.fit not in (SAME, OLDER):  # else another was quicker
            record._upgrade(stored, *upgraded(record, comparison))
    return None


def upgraded(record, comparison):
    """The new layout and where its fields come from."""
    if comparison.steps:
        return _migrated(record, comparison)
    cls, stored = comparison.cls, comparison.stored
    old = stored.fields
    fields, sources = [], []
    for declared, (name, code, count, flags, former), index in zip(
        cls.__record_fields__, cls.__record_layout__.fields, comparison.map, strict=True
    ):
        names = dict.fromkeys(former)
        if index >= 0:
            names.update(dict.fromkeys((old[index][0], *old[index][4])))
            sources.append(index)
        else:
            sources.append((declared.default,))
        names.pop(name, None)
        fields.append((name, code, count, flags, tuple(names)[:MOST_FORMER]))
    taken = {field[0] for field in fields}
    for index, (name, code, count, flags, former) in enumerate(old):
        if index not in comparison.map and name not in taken and len(fields) < MOST_FIELDS:
            fields.append((name, code, count, flags | RETIRED, former))
            sources.append(index)
    return (
        _core.RecordLayout.build(stored.name, cls.__record_version__, stored.floor, tuple(fields)),
        tuple(sources),
    )


def _migrated(record, comparison):
    """The same by the migrations that the class has registered."""
    cls, stored = comparison.cls, comparison.stored
    values = record._read(stored)
    for to_version, function in comparison.steps:
        result = function(values)
        values = values if result is None else dict(result)
    sources = []
    for declared, (name, *_type, former) in zip(
        cls.__record_fields__, cls.__record_layout__.fields, strict=True
    ):
        found = next((key for key in (name, *former) if key in values), None)
        try:
            sources.append((declared.default if found is None else values[found],))
        except AttributeError:
            raise SchemaError(
                f"the migration of {cls.__name__} from version {stored.version} gives no "
                f"{name!r}, which has no default"
            ) from None
    floor = max(to_version for to_version, _function in comparison.steps)
    fields = tuple((name, code, count, flags, ()) for name, code, count, flags, _former
                   in cls.__record_layout__.fields)  # fmt: skip
    return (
        _core.RecordLayout.build(stored.name, cls.__record_version__, floor, fields),
        tuple(sources),
    )


# --- plain copies


def _plain_repr(self):
    values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
    return f"{type(self).__name__}({values})"


def _plain_class(cls):
    made = vars(cls).get("__record_plain__")
    if made is None:
        import dataclasses

        made = dataclasses.make_dataclass(
            cls.__name__, [declared.name for declared in cls.__record_fields__]
        )
        made.__repr__ = _plain_repr
        made.__module__, made.__qualname__ = cls.__module__, f"{cls.__qualname__}.__record_plain__"
        cls.__record_plain__ = made
    return made


def plain(record):
    """copy.copy() of a record."""
    values = record.asdict()
    made = _plain_class(type(record))
    copy = made.__new__(made)
    for name in made.__match_args__:
        setattr(copy, name, values.get(name))
    return copy


def plain_values(record, other):
    """The values of a plain copy of such a record; None for anything else."""
    if type(other) is vars(type(record)).get("__record_plain__"):
        return dict(vars(other))
    return None
