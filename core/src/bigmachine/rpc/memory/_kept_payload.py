"""Messages that are sent to several machines, or later: their large parts are written once."""

from __future__ import annotations

import os

from .._frames import SHARED_BYTES, Payload
from ._switch import is_on


def shared_payload(payload: Payload) -> Payload:
    """Write the large buffers to memory that machines of this host can map, each of them.

    What finds no memory stays as it is. So do the smallest ones, if there are too few descriptors:
    each buffer takes up to four until the payload is gone.
    """
    from ._mapping import files_of
    from ._write import write_shared

    buffers, room = [*payload.buffers], _free_descriptors() // 2
    for place in sorted(range(len(buffers)), key=lambda place: -buffers[place].nbytes):
        buffer = buffers[place]
        if buffer.nbytes < SHARED_BYTES or room <= 0:
            break
        [buffers[place]] = write_shared(Payload((), [buffer], 0, buffer.nbytes)).buffers
        for file in files_of(buffers[place]):
            file.is_kept = True
            room -= 1
    return payload._replace(buffers=buffers)


def copied_payload(payload: Payload) -> Payload:
    """Copy what its objects' owners may change: to memory that machines can map, if they may."""
    written = shared_payload(payload) if is_on() else payload
    return payload._replace(
        chunks=[bytes(chunk) for chunk in payload.chunks],  # which copies no bytes
        buffers=[
            new if new is not old or type(old.obj) is bytes else memoryview(bytearray(old))
            for old, new in zip(payload.buffers, written.buffers, strict=True)
        ],
    )


def _free_descriptors() -> int:
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/dev/fd"))
    return _MANY if limit == resource.RLIM_INFINITY else min(limit - used, _MANY)


_MANY = 4096
