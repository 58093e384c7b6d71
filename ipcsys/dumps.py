# SPDX-License-Identifier: Apache-2.0
"""A segment's objects as text or MessagePack, to be read by people and other programs.

JSON: a line about the segment, then one for each object, in order of construction:

    {"ipcsys": 1, "segment": "orders", "size": 10485760, "max_size": 10485760}
    {"key": "stock", "type": "SharedMap", "value": {"lamp": 2}}

What JSON does not know is an object with one key that begins with "$": {"$bytes":
"base64"}, {"$tuple": [...]}, {"$set": [...]}, {"$map": [[key, value], ...]} (keys
that are not text), {"$datetime": "2026-01-31T12:00:00+00:00"}, {"$float": "nan"}.
MessagePack: one value, the same lines under "objects", with the codec's own types.

An object in which containers stand has "nested": true, and its value is a tree,
{"items": [...]} with what else it is made with: of a map [key, value] or, where a
container stands there, [key, type, tree]; of a row [value] or [type, tree].  What
nothing stands in is {"value": ...}.
"""

import base64
import datetime
import json
import math

from . import _core, errors

__all__ = ["dump", "load", "register"]

VERSION = 1

# By the name of the class: (what its copy is, arguments and keywords to make it from one).
_TYPES = {}


def register(kind, value_of, arguments_of):
    """Have objects of this class dumped and loaded.

    `value_of(object)` gives a plain value; `arguments_of(value)` the positional
    arguments, as a tuple, that `segment.construct(kind, key, ...)` makes it from.
    """
    _TYPES[kind.__name__] = (kind, value_of, arguments_of)


def _register_ours():
    def whole(value):
        return (value,)

    register(_core.SharedMap, lambda mapping: mapping.copy(), whole)
    register(_core.SharedString, str, whole)
    register(_core.SharedBytes, bytes, whole)
    register(_core.SharedCell, lambda cell: cell.value, whole)
    register(
        _core.SharedVector,
        lambda vector: {"items": list(vector), "typecode": vector.typecode},
        lambda value: (value["items"], value["typecode"]),
    )
    register(
        _core.SharedDeque,
        lambda items: {"items": list(items), "maxlen": items.maxlen},
        lambda value: (value["items"], value["maxlen"]),
    )
    for kind in (_core.AtomicInt, _core.AtomicFloat, _core.AtomicBool):
        register(kind, lambda number: number.load(), whole)


    register(_core.Record, _record_value, lambda value: tuple(value["values"]))


def _record_value(record):
    """Its values with what its declaration said, as it is stored."""
    layout, values = record._layout(), record.asdict()
    fields = [[*spec[:4], list(spec[4])] for spec in layout.fields if spec[0] in values]
    return {
        "name": layout.name, "version": layout.version, "fields": fields,
        "values": [values[spec[0]] for spec in fields],
    }  # fmt: skip


def _record_class(value):
    """A class for the declaration that _record_value() wrote."""
    from .schema import generic

    fields = tuple((*spec[:4], tuple(spec[4])) for spec in value["fields"])
    return generic(_core.RecordLayout.build(value["name"], value["version"], 0, fields))


_register_ours()


# --- containers in containers ---------------------------------------------------------

_HOLDERS = (_core.SharedMap, _core.SharedVector, _core.SharedDeque)
_NESTED = (
    *_HOLDERS, _core.SharedString, _core.SharedBytes, _core.SharedCell,
    _core.AtomicInt, _core.AtomicFloat, _core.AtomicBool,
)  # fmt: skip


def _holds_containers(thing):
    values = thing.values() if isinstance(thing, _core.SharedMap) else thing
    return isinstance(thing, _HOLDERS) and any(isinstance(value, _NESTED) for value in values)


def _tree_of(thing):
    if not isinstance(thing, _HOLDERS) or getattr(thing, "typecode", None) is not None:
        return {"value": _TYPES[type(thing).__name__][1](thing)}
    if isinstance(thing, _core.SharedMap):
        return {"items": [[key, *_branch_of(value)] for key, value in thing.items()]}
    tree = {"items": [_branch_of(value) for value in thing]}
    return tree | ({"maxlen": thing.maxlen} if isinstance(thing, _core.SharedDeque) else {})


def _branch_of(value):
    return [type(value).__name__, _tree_of(value)] if isinstance(value, _NESTED) else [value]


def _grow(outer, place, name, tree):
    """Construct in a segment or container what _tree_of() gave; `place` is (key,) or ()."""
    kind, _, arguments_of = _TYPES[name]
    if "value" in tree:
        return outer.construct(kind, *place, *arguments_of(tree["value"])).close()
    rest = {"maxlen": tree["maxlen"]} if kind is _core.SharedDeque else {}
    with outer.construct(kind, *place, **rest) as made:
        for item in tree["items"]:
            keys = 1 if kind is _core.SharedMap else 0
            if len(item) == keys + 2:
                _grow(made, item[:keys], *item[keys:])
            elif keys:
                made[item[0]] = item[1]
            else:
                made.append(*item)
    return None


# --- JSON -----------------------------------------------------------------------------


def _json_of(value):
    """The value as what the json module writes, tagged where it must be."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [_json_of(item) for item in value]
        name = next(
            (tag for tag, kind in _COLLECTIONS.items() if type(value) is kind), None
        )  # exactly: a subclass would come back as another
        if type(value) is list:
            return items
        if name is not None:
            return {name: items}
    if isinstance(value, datetime.datetime):
        return {"$datetime": value.isoformat()}
    if type(value) is dict:
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _json_of(item) for key, item in value.items()}
        return {"$map": [[_json_of(key), _json_of(item)] for key, item in value.items()]}
    raise errors.EncodeError(f"JSON has nothing for a value of type {type(value).__name__}")


_COLLECTIONS = {"$tuple": tuple, "$set": set, "$frozenset": frozenset}


def _value_of(parsed):
    """The value that _json_of() made this of."""
    if isinstance(parsed, list):
        return [_value_of(item) for item in parsed]
    if not isinstance(parsed, dict):
        return parsed
    if len(parsed) == 1:
        ((tag, inner),) = parsed.items()
        if tag in _COLLECTIONS:
            return _COLLECTIONS[tag](_value_of(item) for item in inner)
        if tag == "$map":
            return {_value_of(key): _value_of(item) for key, item in inner}
        if tag == "$bytes":
            return base64.b64decode(inner, validate=True)
        if tag == "$datetime":
            return datetime.datetime.fromisoformat(inner)
        if tag == "$float":
            return float(inner)
    if any(key.startswith("$") for key in parsed):
        raise errors.DecodeError(f"not a value of a dump: an object with the keys {list(parsed)}")
    return {key: _value_of(item) for key, item in parsed.items()}


# --- both -----------------------------------------------------------------------------


def _copies(segment):
    """The head and the objects, of one state."""
    stats = segment.stats()
    head = {
        "ipcsys": VERSION, "segment": segment.name, "size": stats.size, "max_size": stats.max_size,
    }  # fmt: skip
    objects = []
    with segment.transaction():
        for key in segment.keys():
            thing = segment[key]
            kind = "Record" if isinstance(thing, _core.Record) else type(thing).__name__
            try:
                if kind not in _TYPES:
                    raise errors.EncodeError(
                        f"{key!r} cannot be dumped: a {kind} has no plain value; "
                        "ipcsys.dumps.register() may give it one"
                    )
                nested = _holds_containers(thing)
                value = _tree_of(thing) if nested else _TYPES[kind][1](thing)
                objects.append(
                    {"key": key, "type": kind, "value": value}
                    | ({"nested": True} if nested else {})
                )
            finally:
                thing.close()
    return head, objects


def dump(segment, file, format="json"):
    """Write all objects of the segment, of one state, to a binary file.

    `format` is "json" (a line for each) or "msgpack".  EncodeError names the object
    that cannot be dumped; nothing is written then.  Writers wait while the objects
    are copied.  Returns how many there were.
    """
    head, objects = _copies(segment)
    if format == "msgpack":
        file.write(_core.encode_value({**head, "objects": objects}, 3)[1])
    elif format == "json":
        lines = [head]
        for each in objects:
            try:
                lines.append({**each, "value": _json_of(each["value"])})
            except errors.EncodeError as error:
                raise errors.EncodeError(f"{each['key']!r} cannot be dumped: {error}") from None
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    else:
        raise ValueError(f"format must be 'json' or 'msgpack', not {format!r}")
    return len(objects)


def _read(data):
    """The head and the objects of a dump of either format, unchecked."""
    if data[:1] != b"{":
        head = _core.decode_value(1, data)
        return head, head.pop("objects")
    head, *objects = [json.loads(line) for line in data.splitlines() if line.strip()]
    return head, [{**each, "value": _value_of(each["value"])} for each in objects]


def _parse(data):
    """The head and the objects of a dump, of which each is one that we know."""
    try:
        head, objects = _read(data)
        version = head["ipcsys"]
        strange = [each for each in objects if (
            not isinstance(each["key"], str) or each["type"] not in _TYPES or "value" not in each
        )]  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.DecodeError(f"not a dump of a segment: {error}") from None
    if version != VERSION:
        raise errors.FormatError(
            f"the dump has version {version!r}, this version of ipcsys reads {VERSION}"
        )
    for each in strange:
        raise errors.DecodeError(f"{each['key']!r}: a {each['type']!r} is not known here")
    return head, objects


def _load_tree(segment, each):
    try:
        _grow(segment, (each["key"],), each["type"], each["value"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, errors.Error):
            raise
        raise errors.DecodeError(f"{each['key']!r} has no such value: {error}") from None


def load(segment, data):
    """Construct in the segment what dump() wrote (bytes of either format).

    All of it or nothing: one transaction.  AlreadyExists where a key is taken,
    DecodeError where the bytes make no sense.  Returns how many objects.
    """
    _, objects = _parse(data)
    with segment.transaction():
        for each in objects:
            kind, _, arguments_of = _TYPES[each["type"]]
            if each.get("nested"):
                _load_tree(segment, each)
                continue
            try:
                arguments = arguments_of(each["value"])
                kind = _record_class(each["value"]) if kind is _core.Record else kind
            except (KeyError, TypeError, ValueError) as error:
                raise errors.DecodeError(f"{each['key']!r} has no such value: {error}") from None
            segment.construct(kind, each["key"], *arguments).close()
    return len(objects)


def head_of(data):
    """What a dump says of its segment: a dict with "segment", "size", "max_size"."""
    return _parse(data)[0]
