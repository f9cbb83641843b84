"""What machines, sessions, streams and stubs have in common: they belong to one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from ..errors import UsageError

T = TypeVar("T")

# What is called by these names elsewhere, and here by the first of those that there is.
_OTHER_NAMES = {
    "stop": ("shutdown", "close", "aclose"),
    "close": ("shutdown", "aclose"),
    "kill": ("cancel", "shutdown"),
    "terminate": ("cancel", "shutdown"),
    "id": ("name",),
    "pid": ("info",),
    "map": ("submit", "call", "machines"),
    "submit": ("call", "machines"),
    "call": ("machines",),
    "stream": ("machines",),
}


class Handle:
    """Stands for something that this process is connected to.

    A copy of it is itself, and it can't be pickled: ``_instead`` says what to send.
    """

    _instead: ClassVar[str]

    if not TYPE_CHECKING:  # otherwise a type checker would accept any name

        def __getattr__(self, name: str) -> Any:
            try:
                return object.__getattribute__(self, name)  # perhaps a property has raised it
            except AttributeError as exc:
                cls = type(self)
                if name.startswith("_") or hasattr(cls, name):
                    raise
                near = [other for other in _OTHER_NAMES.get(name, ()) if hasattr(cls, other)]
                if near[:1] == ["machines"]:  # calls are theirs, and not the session's
                    method = "submit" if name == "map" else name
                    hint = f"; did you mean {method!r} of one of its machines?"
                else:
                    hint = f"; did you mean {near[0]!r}?" if near else self._hint_at(name)
                if not hint:
                    raise
                raise AttributeError(f"{exc}{hint}") from None

    def _hint_at(self, name: str) -> str:
        """Return what to write in place of an attribute ``name``; ``""`` if that is not known."""
        return ""

    def __copy__(self: T) -> T:
        return self

    def __deepcopy__(self: T, memo: dict[int, Any]) -> T:
        return self

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            f"{self!r} belongs to this process and can't be sent to another; {self._instead}"
        )
