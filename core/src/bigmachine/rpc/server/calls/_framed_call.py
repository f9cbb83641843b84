"""What calls that arrive as frames have in common, over a connection or over a lane."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..._exceptions import dump_exception
from ..._frames import Frame, Kind, Payload
from ..._marshal import load_arguments
from ._call import Call


class FramedCall(Call):
    """Takes its arguments from a CALL frame; its outcome is a REPLY or an ERROR."""

    __slots__ = ("_frame",)

    _frame: Frame

    def load_arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        args, kwargs = load_arguments(self._frame)
        del self._frame  # it may be large, and the call may be long
        return args, kwargs

    def pickled_arguments(self) -> Payload:
        frame = self._frame
        return Payload((frame.pickle,), frame.buffers, len(frame.pickle), frame.size)

    def replied(self, kind: int, payload: Payload) -> Callable[[], None]:
        return functools.partial(self._finish, kind, payload)

    def raised(self, exc: BaseException) -> Callable[[], None]:
        return functools.partial(self._finish, Kind.ERROR, dump_exception(exc))

    @abstractmethod
    def _finish(self, kind: int, payload: Payload) -> None:
        """Reply, unless the caller has given the call up."""
