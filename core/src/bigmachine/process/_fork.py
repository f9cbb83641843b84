"""What a forked child of this process must not keep: pipes and connections.

A machine runs until its driver's end of a pipe is closed, and a dead machine is noticed because
its connections end. A child that user code forks, for example by `multiprocessing`, inherits
the descriptors of both, and would keep them open after its parent's death. It could also write
to them. So in a child each of them is the null device, from the first moment.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import weakref
from typing import NoReturn, Protocol, TypeVar


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


FORKED = (
    "a session does not survive os.fork(): open one in the child, or start the child by 'spawn' "
    "(see multiprocessing.set_start_method)"
)
"""The message when a session is used in a child of the process that has opened it."""

_T = TypeVar("_T", bound=_HasDescriptor)
_withheld: weakref.WeakSet[_HasDescriptor] = weakref.WeakSet()


def close_in_children(resource: _T) -> _T:
    """Close the descriptor of ``resource`` in every child that is forked; return ``resource``.

    The child has the null device in its place, so code there that has the descriptor's number
    can still close it. ``fileno()`` is -1 once the resource is closed.
    """
    _withheld.add(resource)
    return resource


def end_child(exc: BaseException | None) -> NoReturn:
    """End this process, a forked child, as Python would after ``exc``, but at once."""
    status = 0
    if isinstance(exc, SystemExit):
        status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    elif exc is not None:
        status = 1
        traceback.print_exception(exc)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # whatever the program has put there
            stream.flush()
    os._exit(status)


def _close_all() -> None:
    if not (resources := list(_withheld)):
        return
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for resource in resources:
            if (number := resource.fileno()) >= 0:
                os.dup2(null, number, inheritable=False)
    finally:
        os.close(null)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
