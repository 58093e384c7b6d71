# SPDX-License-Identifier: Apache-2.0
"""What the asyncio faces of shared objects have in common."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any, ClassVar

from ipcsys.aio.loops import look_everywhere

if TYPE_CHECKING:
    from typing_extensions import Self

_faces: dict[type, type[Face]] = {}


class Face:
    """A shared object as asyncio sees it.  Made with the arguments of the object's own
    type, or from an object by of(); `shared` is that object."""

    _kind: ClassVar[type]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        kind = cls.__dict__.get("_kind")
        if kind is not None:
            _faces.setdefault(kind, cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._adopt(self._kind(*args, **kwargs))

    @classmethod
    def of(cls, shared: Any, /) -> Self:
        """The face of an object that is open already: the same object and the same handle.

        TypeError where it is of another kind."""
        if not isinstance(shared, cls._kind):
            raise TypeError(f"{cls.__name__}.of() takes an ipcsys.{cls._kind.__name__}")
        face = cls.__new__(cls)
        face._adopt(shared)
        return face

    def _adopt(self, shared: Any) -> None:
        self.shared = shared

    @property
    def name(self) -> str | None:
        """The name, or None."""
        return self.shared.name

    @property
    def closed(self) -> bool:
        """True once close() was called."""
        return self.shared.closed

    def close(self) -> None:
        """Give up this handle; tasks of this process that wait on it get Closed."""
        self.shared.close()
        look_everywhere()

    @classmethod
    def remove(cls, name: str, namespace: str | None = None) -> None:
        """Remove a name; InUse while live members hold the object."""
        cls._kind.remove(name, namespace)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).of, (self.shared,)

    def __repr__(self) -> str:
        return f"<ipcsys.aio.{type(self).__name__} of {self.shared!r}>"


def wrap(shared: Any, /) -> Any:
    """The asyncio face of a shared object: an `ipcsys.aio.Lock` for an `ipcsys.Lock`, and
    so on.  TypeError where it has none."""
    for kind in type(shared).__mro__:
        if kind in _faces:
            return _faces[kind].of(shared)
    raise TypeError(f"ipcsys.aio has no face for {type(shared).__name__}")


def checked(timeout: float | None) -> float | None:
    """A timeout in seconds that makes sense; None waits for ever."""
    if timeout is not None:
        if not isinstance(timeout, (int, float)):
            raise TypeError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
        if isnan(timeout) or timeout < 0:
            raise ValueError(f"timeout must not be negative or NaN, but is {timeout}")
    return timeout
