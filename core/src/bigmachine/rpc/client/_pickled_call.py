"""A call as it was made: its arguments are pickled at once, so later changes do not travel."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import UsageError
from .._frames import MAX_NAME_BYTES, Payload
from .._marshal import dump_arguments
from .._payload import owned
from ._uploads import Uploads, is_stream


class PickledCall(NamedTuple):
    """The ``method`` to call and its pickled arguments; ``uploads`` are its stream arguments.

    It may be sent several times, unless it has uploads, which can be read only once. ``headers``
    are sent along, as `dump_headers` makes them.
    """

    method: str
    payload: Payload
    uploads: Uploads | None
    headers: bytes = b""


def pickle_call(
    method: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, copy: bool = False
) -> PickledCall:
    """Pickle a call's arguments; a `UsageError` names the one that can't be sent.

    Large buffers in the arguments are sent from where they are, so the caller must not change
    them before the reply; or it passes ``copy``.
    """
    if not isinstance(method, str):
        raise _bad_name(method)
    encoded_name(method)
    uploads = None
    if (args and any(map(is_stream, args))) or (kwargs and any(map(is_stream, kwargs.values()))):
        uploads = Uploads()
        args, kwargs = uploads.take(method, args, kwargs)
    payload = dump_arguments(method, args, kwargs)
    return PickledCall(method, owned(payload) if copy else payload, uploads)


@functools.lru_cache(1024)
def encoded_name(method: str) -> bytes:
    """Return a method's name as it is sent; raise `UsageError` for what can't be sent.

    The machine says which names it knows.
    """
    try:
        if len(encoded := method.encode()) <= MAX_NAME_BYTES:
            return encoded
    except UnicodeError:
        pass
    raise _bad_name(method)


def _bad_name(method: object) -> UsageError:
    return UsageError(
        f'a method\'s name looks like "Service.method", with at most {MAX_NAME_BYTES} bytes, '
        f"not {method!r:.80}"
    )
