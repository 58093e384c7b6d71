# SPDX-License-Identifier: Apache-2.0
"""What SharedMap's keys(), values() and items() return.

Like a dict's views they follow the map; unlike them, each iteration goes over
what was there when it began, whatever other processes do meanwhile.
"""

from collections.abc import ItemsView, KeysView, ValuesView

_VALUES, _ITEMS = 2, 3


class MapKeys(KeysView):
    """The keys of a SharedMap."""

    __slots__ = ()

    def __reversed__(self):
        return reversed(self._mapping)


class MapValues(ValuesView):
    """The values of a SharedMap."""

    __slots__ = ()

    def __contains__(self, value):
        return value in self._mapping._snapshot(_VALUES)

    def __iter__(self):
        return iter(self._mapping._snapshot(_VALUES))

    def __reversed__(self):
        return reversed(self._mapping._snapshot(_VALUES))


class MapItems(ItemsView):
    """The (key, value) pairs of a SharedMap."""

    __slots__ = ()

    def __iter__(self):
        return iter(self._mapping._snapshot(_ITEMS))

    def __reversed__(self):
        return reversed(self._mapping._snapshot(_ITEMS))
