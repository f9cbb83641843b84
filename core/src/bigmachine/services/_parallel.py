"""The mark of the service methods that run in processes of their own.

Apart from the wire, so that a service's module may be imported without trio.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import UsageError

# Any: a decorator that returns what it gets takes functions of every signature.
Function = TypeVar("Function", bound=Callable[..., Any])

# On the function itself, so that it travels with a class that travels by value.
_MARK = "__bigmachine_parallel__"


def parallel(method: Function) -> Function:
    """Have a ``def`` method of a service run in processes, rather than in threads.

    A machine runs it in up to ``maxprocs`` processes, each with its own copy of the
    service, so pure Python code uses every processor, and cancelling a call ends it::

        class PI:
            @bm.parallel
            def sample(self, n: int) -> int: ...

    The copies are made from what the driver sent: ``setup`` is not called in them, and
    what other methods change is not seen there. On a free-threaded interpreter, threads
    do as well, and the method is an ordinary one. `UsageError` for what is no ``def``.
    """
    if (
        not inspect.isfunction(method)
        or inspect.iscoroutinefunction(method)
        or inspect.isgeneratorfunction(method)
        or inspect.isasyncgenfunction(method)
    ):
        name = getattr(method, "__qualname__", repr(method))
        raise UsageError(
            f"bm.parallel is for plain def methods, and {name} is none: async methods and "
            "generators run in the machine's own process; below @staticmethod it is fine"
        )
    setattr(method, _MARK, True)
    return method


def runs_in_processes(method: object) -> bool:
    """Whether a service's method is marked, and threads would compute one at a time."""
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)
    return getattr(method, _MARK, False) is True and has_gil()
