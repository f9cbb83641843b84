"""Objects to payloads and back: cloudpickle, with large buffers out of band."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import cloudpickle

from ..errors import BigmachineError, UsageError
from ._frames import MAX_BUFFERS, Buffer, Frame, Payload

_PROTOCOL = 5  # the first with out-of-band buffers; in every Python we run on

# A buffer below this is cheaper to copy into the pickle than to send by itself.
_OUT_OF_BAND_BYTES = 32 << 10

_NUMBERS = frozenset({type(None), bool, int, float, complex})


def dumps(value: object) -> Payload:
    """Pickle anything cloudpickle can; raises what pickling raises.

    Contiguous buffers (numpy, Arrow, `pickle.PickleBuffer`) of 32 KiB or more
    are not copied, and neither are large ``bytes`` and ``str``.
    """
    if _is_plain(value):
        return _plain(value)
    chunks: list[Buffer] = []
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < _OUT_OF_BAND_BYTES or len(buffers) == MAX_BUFFERS:
            return True
        buffers.append(raw)
        return False

    cloudpickle.Pickler(_Chunks(chunks), _PROTOCOL, take).dump(value)
    size = sum(map(len, chunks))
    return Payload(chunks, buffers, size, size + sum(raw.nbytes for raw in buffers))


def _is_plain(value: object) -> bool:
    """Whether the plain pickler does: a fifth of the time, and most small calls are such."""
    kind = type(value)
    return kind in _NUMBERS or (
        (kind is str or kind is bytes) and len(value) < _OUT_OF_BAND_BYTES  # type: ignore[arg-type]
    )


def _plain(value: object) -> Payload:
    data = pickle.dumps(value, _PROTOCOL)
    return Payload((data,), (), len(data), len(data))


def dumps_whole(value: object) -> bytes:
    """Pickle into one piece of bytes, for where there is no body to send."""
    data: bytes = cloudpickle.dumps(value, _PROTOCOL)
    return data


def loads(frame: Frame) -> Any:
    """Unpickle a message from an authenticated peer."""
    return pickle.loads(frame.pickle, buffers=frame.buffers)


def loads_result(method: str, frame: Frame) -> Any:
    """Unpickle what a method returned; `UsageError` if that can't be done here."""
    try:
        return loads(frame)
    except Exception as exc:
        raise UsageError(
            f"{method} returned something that can't be unpickled here: {exc}"
        ) from exc


def dumps_arguments(
    method: str, args: Sequence[object], kwargs: dict[str, object], *, limit_bytes: int
) -> Payload:
    """Pickle a call's arguments; a `UsageError` names the one that can't be sent."""
    try:
        is_plain = not kwargs and all(map(_is_plain, args))
        payload = (_plain if is_plain else dumps)((tuple(args), kwargs))
    except Exception as exc:
        which = _unpicklable(args, kwargs)
        raise UsageError(
            f"{method}: {which} can't be pickled ({_first_line(exc)}); "
            "pass plain data, or make the object on the machine"
        ) from exc
    if payload.size > limit_bytes:
        raise UsageError(
            f"{method}: the arguments take {payload.size:,} bytes and the machine accepts "
            f"{limit_bytes:,}; send them in parts, for instance as an iterator argument"
        )
    return payload


def _unpicklable(args: Sequence[object], kwargs: dict[str, object]) -> str:
    named = [*((f"argument {i}", value) for i, value in enumerate(args)), *kwargs.items()]
    for name, value in named:
        try:
            dumps(value)
        except Exception:
            return f"{name} (a {type(value).__name__})"
    return "an argument"


def _first_line(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__).splitlines()[0]


class _Chunks:
    """The file a pickler writes to: it keeps each piece as it comes, uncopied."""

    __slots__ = ("write",)

    def __init__(self, chunks: list[Buffer]) -> None:
        self.write = chunks.append


class Refused(Exception):
    """Carries an error of ours (no such method, …) that no user's method raised.

    It reaches the caller as ``error`` itself, with no `RemoteError` about it.
    """

    def __init__(self, error: BigmachineError) -> None:
        super().__init__(str(error))
        self.error = error


def dump_value(method: str, verb: str, value: object) -> Payload:
    """Pickle what a method ``"returned"`` or ``"yielded"``; refuse, by name, what can't be."""
    try:
        return dumps(value)
    except Exception as exc:
        raise Refused(
            UsageError(f"{method} {verb} a {type(value).__name__}, which can't be pickled ({exc})")
        ) from exc


def load_arguments(frame: Frame) -> tuple[list[Any], dict[str, Any]]:
    """Unpickle the arguments of a call; refuse, by the method's name, what can't be."""
    try:
        args, kwargs = loads(frame)
    except Exception as exc:
        raise Refused(
            UsageError(
                f"{frame.name}: the arguments can't be unpickled on the machine "
                f"({type(exc).__name__}: {exc}); is their module there?"
            )
        ) from exc
    return args, kwargs
