# SPDX-License-Identifier: Apache-2.0
"""What SharedMap's keys(), values() and items() return.

Like a dict's views they follow the map; unlike them, each iteration goes over
what was there when it began, whatever other processes do meanwhile.
"""

from collections.abc import ItemsView, KeysView, ValuesView

_VALUES, _ITEMS = 2, 3


class _Listed:
    """A repr like that of a dict's view."""

    __slots__ = ()

    def __repr__(self):
        return f"{type(self).__name__}({list(self)!r})"


class MapKeys(_Listed, KeysView):
    """The keys of a SharedMap."""

    __slots__ = ()

    def __reversed__(self):
        return reversed(self._mapping)


class MapValues(_Listed, ValuesView):
    """The values of a SharedMap."""

    __slots__ = ()

    def __contains__(self, value):
        return value in self._mapping._snapshot(_VALUES)

    def __iter__(self):
        return iter(self._mapping._snapshot(_VALUES))

    def __reversed__(self):
        return reversed(self._mapping._snapshot(_VALUES))


class MapItems(_Listed, ItemsView):
    """The (key, value) pairs of a SharedMap."""

    __slots__ = ()

    def __iter__(self):
        return iter(self._mapping._snapshot(_ITEMS))

    def __reversed__(self):
        return reversed(self._mapping._snapshot(_ITEMS))
