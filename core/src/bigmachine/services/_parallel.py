"""`parallel`: the decorator of service methods that run in processes of their own.

It does not import trio, so a service's module can be imported without trio.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import UsageError

# Any: a decorator that returns what it gets takes functions of every signature.
Function = TypeVar("Function", bound=Callable[..., Any])

# On the function itself, so that it is pickled with a class that is pickled by value.
_MARK = "__bigmachine_parallel__"


def parallel(method: Function) -> Function:
    """Run a ``def`` method of a service in processes, not in threads.

    A machine runs it in up to ``maxprocs`` processes, each with its own copy of the
    service. So pure Python code uses every processor, and cancelling a call ends it::

        class PI:
            @bm.parallel
            def sample(self, n: int) -> int: ...

    The copies are made from what the driver sent: ``setup`` is not called in them, and
    they don't see what other methods change. On a free-threaded interpreter the method
    runs in a thread, like any other. Raises `UsageError` for anything but a ``def``.
    """
    if (
        not inspect.isfunction(method)
        or inspect.iscoroutinefunction(method)
        or inspect.isgeneratorfunction(method)
        or inspect.isasyncgenfunction(method)
    ):
        name = getattr(method, "__qualname__", repr(method))
        raise UsageError(
            f"bm.parallel is for plain def methods, and {name} is not one: async methods and "
            "generators run in the machine's own process; put it below @staticmethod"
        )
    setattr(method, _MARK, True)
    return method


def runs_in_processes(method: object) -> bool:
    """Whether a method is `parallel`, and the GIL would let one thread compute at a time."""
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)
    return getattr(method, _MARK, False) is True and has_gil()
