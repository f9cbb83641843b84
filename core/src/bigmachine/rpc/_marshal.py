"""The arguments and results of calls to payloads and back; errors name the method.

For either end of the wire: each `dump_` function has its `load_` function here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ._exceptions import CallError
from ._frames import Frame, Payload
from ._payload import dumps, dumps_plain, is_plain, loads


def dump_arguments(method: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Payload:
    """Pickle a call's arguments; a `UsageError` names the one that can't be sent."""
    try:
        dump = dumps_plain if not kwargs and all(map(is_plain, args)) else dumps
        return dump((tuple(args), dict(kwargs)))
    except Exception as exc:
        which = _unpicklable(args, kwargs)
        raise UsageError(
            f"{method}: {which} can't be pickled ({_first_line(exc)}); "
            "pass plain data, or make the object on the machine"
        ) from exc


def check_size(method: str, size: int, *, limit_bytes: int) -> None:
    """Raise `UsageError` if a call's arguments are larger than its machine accepts."""
    if size > limit_bytes:
        raise UsageError(
            f"{method}: the arguments take {size:,} bytes and the machine accepts "
            f"{limit_bytes:,}; send them in parts, for instance as an iterator argument"
        )


def load_arguments(frame: Frame) -> tuple[Sequence[Any], dict[str, Any]]:
    """Unpickle the arguments of a call; `CallError` if that can't be done here."""
    try:
        args, kwargs = loads(frame)
    except Exception as exc:
        raise CallError(
            UsageError(
                f"{frame.name}: the arguments can't be unpickled on the machine "
                f"({type(exc).__name__}: {exc}); is their module there?"
            )
        ) from exc
    return args, kwargs


def dump_result(method: str, value: object, *, verb: str = "returned") -> Payload:
    """Pickle what a method returned, or ``"yielded"``; `CallError` if that can't be done."""
    try:
        return dumps(value)
    except Exception as exc:
        raise CallError(
            UsageError(f"{method} {verb} a {type(value).__name__}, which can't be pickled ({exc})")
        ) from exc


def load_result(method: str, frame: Frame) -> Any:
    """Unpickle what a method returned; `UsageError` if that can't be done here."""
    try:
        return loads(frame)
    except Exception as exc:
        raise UsageError(
            f"{method} returned something that can't be unpickled here: {exc}"
        ) from exc


def _unpicklable(args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    named = [*((f"argument {i}", value) for i, value in enumerate(args)), *kwargs.items()]
    for name, value in named:
        try:
            dumps(value)
        except Exception:
            return f"{name} (a {type(value).__name__})"
    return "an argument"


def _first_line(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__).splitlines()[0]
