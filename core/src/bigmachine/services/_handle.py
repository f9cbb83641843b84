"""What machines, sessions, streams and stubs have in common: they belong to one process."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, TypeVar

from ..errors import UsageError

T = TypeVar("T")


class Handle:
    """Stands for something that this process is connected to.

    A copy of it is itself, and it can't be pickled: ``_instead`` says what to send.
    """

    _instead: ClassVar[str]

    def __copy__(self: T) -> T:
        return self

    def __deepcopy__(self: T, memo: dict[int, Any]) -> T:
        return self

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            f"{self!r} belongs to this process and can't be sent to another; {self._instead}"
        )
