# SPDX-License-Identifier: Apache-2.0
"""What SharedArray knows of dtypes: the simple ones by itself, the rest through numpy."""

import ast
import sys

__all__ = ["describe", "interface", "literal"]

_KINDS = {
    "?": ("b1", "bool"), "b": ("i1", "int8"), "B": ("u1", "uint8"), "h": ("i2", "int16"),
    "H": ("u2", "uint16"), "i": ("i4", "int32"), "I": ("u4", "uint32"), "l": ("i8", "int64"),
    "L": ("u8", "uint64"), "e": ("f2", "float16"), "f": ("f4", "float32"), "d": ("f8", "float64"),
    "Zf": ("c8", "complex64"), "Zd": ("c16", "complex128"),
}  # fmt: skip
_ORDER = "<" if sys.byteorder == "little" else ">"


def _simple():
    """{name: (text, format, itemsize)} of the dtypes that need no numpy."""
    known = {}
    for form, (short, name) in _KINDS.items():
        size = int(short[1:])
        text = ("|" if size == 1 else _ORDER) + short
        for alias in {short, name, text, "=" + short, form if len(form) == 1 else short}:
            known[alias] = (repr(text), form, size)
    return known | {"q": known["l"], "Q": known["L"], "int": known["l"], "float": known["d"]}


_SIMPLE = _simple()
_BUILTIN = {bool: "?", int: "l", float: "d", complex: "c16"}


def describe(dtype):
    """(text, format, itemsize): the dtype as a Python literal that numpy.dtype takes,
    its spelling in the buffer protocol ("" where there is none), and its bytes."""
    if dtype is None:
        dtype = "d"
    known = _SIMPLE.get(_BUILTIN.get(dtype, dtype) if isinstance(dtype, type | str) else None)
    return known or _describe_with_numpy(dtype)


def _describe_with_numpy(dtype):
    try:
        import numpy
    except ImportError as error:
        raise TypeError(
            f"dtype {dtype!r} needs numpy to be understood; without it: {', '.join(_KINDS)}"
        ) from error
    full = numpy.dtype(dtype)
    if full.hasobject:
        raise TypeError(f"dtype {dtype!r} holds Python objects, which cannot be shared")
    if full.subdtype is not None:
        raise TypeError(f"dtype {dtype!r} is an array itself: give its dimensions in shape")
    if full.names is None and full.str in _SIMPLE:
        return _SIMPLE[full.str]
    text = repr(_literal(full, numpy.dtype))
    try:
        form = memoryview(numpy.empty(1, full)).format
    except ValueError:  # times have no format
        form = ""
    return text, form, full.itemsize


def _literal(full, make):
    """A dtype as literals that numpy.dtype(), which is `make`, takes."""
    if full.subdtype is not None:
        item, shape = full.subdtype
        return _literal(item, make), shape
    if full.names is None:
        return full.str
    fields = [full.fields[name] for name in full.names]
    packed = [(name, _literal(field[0], make)) for name, field in zip(full.names, fields, strict=True)]
    if make(packed) == full:
        return packed
    return {
        "names": list(full.names),
        "formats": [form for _name, form in packed],
        "offsets": [field[1] for field in fields],
        "itemsize": full.itemsize,
    }


def literal(text):
    """What numpy.dtype() takes, from the text of describe()."""
    return ast.literal_eval(text)


def interface(text):
    """(typestr, descr) of numpy's array interface, from the text of describe()."""
    dtype = literal(text)
    if isinstance(dtype, str):
        return dtype, [("", dtype)]
    import numpy

    full = numpy.dtype(dtype)
    return f"|V{full.itemsize}", full.descr
