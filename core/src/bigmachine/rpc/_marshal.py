"""Services, and the arguments and results of calls, to payloads and back; errors name them.

For either end of the wire: each `dump_` function has its `load_` function here.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ..services._loading import loading
from ..services._parallel import has_parallel_methods
from ._exceptions import CallError
from ._frames import Frame, Payload
from ._payload import USER_ERRORS, dumps, dumps_plain, is_plain, owned
from ._pickled_service import PickledService
from ._signal_handlers import is_of_signal_handler
from ._unpicklable import Unpicklable
from .memory._socket import MemorySocket
from .pickling._modules import is_being_imported


def dump_arguments(method: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Payload:
    """Pickle a call's arguments; a `UsageError` names the one that can't be sent.

    Like `load_result`, it raises what a signal handler raises meanwhile.
    """
    if not args and not kwargs:
        return _NO_ARGUMENTS
    try:
        dump = dumps_plain if not kwargs and all(map(is_plain, args)) else dumps
        return dump((tuple(args), dict(kwargs)))
    except USER_ERRORS as exc:
        if is_of_signal_handler(exc):
            raise
        raise UsageError(f"{method}: {_unpicklable_argument(args, kwargs)}") from exc


_NO_ARGUMENTS = dumps_plain(((), {}))


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
        args, kwargs = pickle.loads(frame.pickle, buffers=frame.buffers)
    except MemoryError as exc:
        raise CallError(no_memory(frame.name, frame.size)) from exc
    except USER_ERRORS as exc:
        raise CallError(
            UsageError(
                f"{frame.name}: the arguments can't be unpickled on the machine "
                f"({type(exc).__name__}: {exc}); is their module there?"
            )
        ) from exc
    return args, kwargs


def no_memory(method: str, size: int) -> UsageError:
    """Return what a caller gets for arguments that its machine has no memory for."""
    return UsageError(
        f"{method}: the machine has no memory for the arguments, of {size:,} bytes; send less at "
        "once, for instance by an iterator argument, or use machines with more memory"
    )


def dump_result(
    method: str,
    value: object,
    *,
    verb: str = "returned",
    memory: MemorySocket | None = None,
) -> Payload:
    """Pickle what a method returned, or ``"yielded"``; `CallError` if that can't be done.

    The payload is a copy: while it is sent, the service may change what it has returned. Large
    parts of it may go by ``memory``.
    """
    if value is None:
        return _NO_RESULT
    try:
        if is_plain(value):
            return dumps_plain(value)
        return owned(dumps(value), memory)
    except USER_ERRORS as exc:
        raise CallError(UsageError(f"{method}: {unpicklable_result(value, verb=verb)}")) from exc


_NO_RESULT = dumps_plain(None)


def unpicklable_result(value: object, *, verb: str = "returned") -> str:
    """Say what of a result, or of an item that was ``"yielded"``, can't be pickled."""
    name, instead = {"returned": ("result", "return"), "yielded": ("item", "yield")}[verb]
    return Unpicklable(value).describe(name, instead=f"{instead} plain data")


def load_result(method: str, frame: Frame) -> Any:
    """Unpickle what a method returned; `UsageError` if that can't be done here."""
    try:
        return pickle.loads(frame.pickle, buffers=frame.buffers)
    except USER_ERRORS as exc:
        if is_of_signal_handler(exc):
            raise
        raise UsageError(
            f"{method} returned something that can't be unpickled here: {exc}"
        ) from exc


def dump_service(name: str, service: object) -> PickledService:
    """Pickle a service; a `UsageError` names what of it can't be pickled.

    Its large buffers are not copied: the service must not change before they are sent.
    """
    module = getattr(service, "__module__", "")  # its class's, or its own
    if is_being_imported(module):
        # And another thread that pickles it would wait for the import, perhaps for ever.
        raise UsageError(
            f"service {name!r} is of the module {module!r}, which is still being imported: each "
            "machine would import it, too, and open a session of its own; put what opens sessions "
            'below `if __name__ == "__main__":`'
        )
    try:
        return PickledService.of_payload(dumps(service), is_parallel=has_parallel_methods(service))
    except USER_ERRORS as exc:
        if is_of_signal_handler(exc):
            raise
        instead = "make it in setup(), which runs on the machine"
        why = Unpicklable(service).describe(f'services["{name}"]', instead=instead)
        raise UsageError(why) from exc


def load_service(name: str, pickled: PickledService) -> object:
    """Unpickle a service; a `UsageError` says why that can't be done here."""
    try:
        with loading(name):
            return pickled.load()
    except MemoryError as exc:
        raise UsageError(
            f"the machine has no memory for service {name!r}; make less of it, or use machines "
            "with more memory"
        ) from exc
    except USER_ERRORS as exc:
        raise UsageError(
            f"service {name!r} can't be made on the machine ({type(exc).__name__}: {exc}); "
            "its class must be importable there, or be defined in __main__ to travel by value"
        ) from exc


def _unpicklable_argument(args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    named = [*((f"argument {i}", value) for i, value in enumerate(args)), *kwargs.items()]
    for name, value in named:
        try:
            dumps(value)
        except USER_ERRORS:
            instead = "pass plain data, or make the object on the machine"
            return Unpicklable(value).describe(name, instead=instead)
    return "an argument can't be pickled"
