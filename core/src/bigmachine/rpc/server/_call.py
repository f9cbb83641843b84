"""One call of a service method: where the method runs, and how it is cancelled."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import trio

from .._frames import Kind, Payload
from .._tasks import TaskPool
from ._processes import ProcessCall
from ._registry import Method
from ._threads import ThreadPool, do_nothing


class Call(ABC):
    """Runs an ``async def`` method in the loop, a ``def`` in a thread, a parallel one in a process.

    How the arguments arrived and where the outcome goes is the subclass's business. Its
    methods are called where the service's method runs, so perhaps in a thread; what
    `returned`, `replied` and `raised` return is then called in the trio loop.
    """

    __slots__ = ("_cancel", "_pools", "is_cancelled", "method")

    def __init__(self, method: Method, pools: Pools) -> None:
        self.method = method
        self.is_cancelled = False
        self._pools = pools
        self._cancel: Callable[[], object] = do_nothing

    def start(self) -> None:
        """Start the method."""
        if self.method.is_async:
            self._cancel = self._pools.tasks.start(self._run_in_loop).cancel
        elif self.method.processes is None:
            self._cancel = self._pools.threads.start(self._run_in_thread).cancel
        else:
            process_call = self.method.processes.call(self.method.name)
            self._cancel = process_call.cancel
            self._pools.threads.start(functools.partial(self._run_in_process, process_call))

    def cancel(self) -> None:
        """Cancel the method; one that runs in a thread continues, but nobody waits for it."""
        self.is_cancelled = True
        self._cancel()

    def on_cancel(self, cancel: Callable[[], object]) -> None:
        """Have `cancel` call ``cancel`` from now on."""
        self._cancel = cancel

    # -- what a subclass supplies ---------------------------------------------

    @abstractmethod
    def load_arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments."""

    @abstractmethod
    def pickled_arguments(self) -> Payload:
        """Return the arguments as they go to a process."""

    @abstractmethod
    def returned(self, result: object) -> Callable[[], None]:
        """Take what the method returned, which may be a plain iterator."""

    @abstractmethod
    async def send_items(self, items: AsyncIterator[Any]) -> None:
        """Send the items of an async iterator that the method returned; in the trio loop."""

    @abstractmethod
    def replied(self, kind: Kind, payload: Payload) -> Callable[[], None]:
        """Take the reply of a process."""

    @abstractmethod
    def raised(self, exc: BaseException) -> Callable[[], None]:
        """Take what the method raised, or a `CallError`."""

    # -- where the method runs ------------------------------------------------

    async def _run_in_loop(self) -> None:
        try:
            args, kwargs = self.load_arguments()
            result = self.method.function(*args, **kwargs)
            if not isinstance(result, AsyncIterator):
                result = await result
            if isinstance(result, AsyncIterator):
                await self.send_items(result)
            else:
                self.returned(result)()
        except trio.Cancelled:
            raise
        except BaseException as exc:  # SystemExit too: it is the method's, not the machine's
            self.raised(exc)()

    def _run_in_thread(self) -> Callable[[], None]:
        try:
            args, kwargs = self.load_arguments()
            result = self.method.function(*args, **kwargs)
            if isinstance(result, AsyncIterator):
                return functools.partial(self._start_items, result)
            return self.returned(result)
        except BaseException as exc:
            return self.raised(exc)

    def _run_in_process(self, process_call: ProcessCall) -> Callable[[], None]:
        try:
            return self.replied(*process_call.run(self.pickled_arguments()))
        except BaseException as exc:
            return self.raised(exc)

    def _start_items(self, items: AsyncIterator[Any]) -> None:
        if not self.is_cancelled:
            self._cancel = self._pools.tasks.start(functools.partial(self._run_items, items)).cancel

    async def _run_items(self, items: AsyncIterator[Any]) -> None:
        try:
            await self.send_items(items)
        except trio.Cancelled:
            raise
        except BaseException as exc:
            self.raised(exc)()


class Pools(NamedTuple):
    """The tasks and threads of a server, which run its methods."""

    tasks: TaskPool
    threads: ThreadPool
