"""One call of a service method: where the method runs, and how it is cancelled."""

from __future__ import annotations

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from types import GeneratorType
from typing import Any

import trio

from ..._exceptions import CallError
from ..._frames import Payload
from ...loop._tasks import Job
from .._option_hint import hint_at_options
from .._processes import ProcessCall
from .._registry import Method
from ..pools._pools import Pools
from ..pools._thread_job import do_nothing
from ..pools._work import Work
from ..processes._traces import ProcessTracing
from ._asyncio import explain_asyncio
from ._process_work import ProcessWork
from ._result_in_loop import ResultInLoop


class Call(ABC):
    """Runs an ``async def`` method in the loop, a ``def`` in a thread, a parallel one in a process.

    What a ``def`` returns may be awaitable, or an async iterator, as that of a decorated
    ``async def`` is: that goes on in the loop.

    It ``began`` when it arrived, by `perf_counter`. How the arguments arrived and where the
    outcome goes is the subclass's business. Its methods are called where the service's method
    runs, so perhaps in a thread; what `returned`, `replied` and `raised` return is then called in
    the trio loop.
    """

    __slots__ = ("__weakref__", "_began", "_pools", "_work", "is_cancelled", "method")

    def __init__(self, method: Method, pools: Pools, began: float) -> None:
        self.method = method
        self._began = began
        self.is_cancelled = False
        self._pools = pools
        self._work: Work | None = None

    def start(self, *, within: Job | None = None) -> None:
        """Start the method; an ``async def`` one ``within`` a job, see `TaskPool.start`."""
        if not self.method.is_of_supervisor:
            ledger = self._pools.ledger
            if ledger.is_closed:
                return
            ledger.begun += 1
        if self.method.is_async:
            self._work = self._pools.tasks.start(self._run_in_loop, within=within)
        elif self.method.processes is None:
            self._start_in_thread(self._run_in_thread)
        else:
            process_call = self.method.processes.call(self.method.name)
            self._start_in_thread(lambda: self._run_in_process(process_call), process_call)

    def cancel(self) -> None:
        """Cancel the method; one that runs in a thread continues, but nobody waits for it."""
        self.is_cancelled = True
        if self._work is not None:
            self._work.cancel()
            self._pools.ledger.add_cancelled(self)

    @property
    def is_running(self) -> bool:
        """Whether anything of it runs, also a method in a thread that was cancelled."""
        return self._work is not None and not self._work.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any longer, except perhaps a method in a thread."""
        work = self._work
        return work is None or work.has_ended or work.is_uncancellable

    def continue_with(self, work: Work) -> None:
        """Have `cancel` cancel ``work`` from now on."""
        self._work = work

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
    def replied(self, kind: int, payload: Payload) -> Callable[[], None]:
        """Take the reply of a process."""

    @abstractmethod
    def raised(self, exc: BaseException) -> Callable[[], None]:
        """Take what the method raised, or a `CallError`."""

    @property
    def has_room(self) -> bool:
        """Whether a result can be sent: whether its caller reads those before it."""
        return True

    def when_room(self, function: Callable[[], None]) -> None:
        """Call ``function`` in the trio loop once there is room."""
        function()

    @property
    def process_tracing(self) -> ProcessTracing | None:
        """What traces it in a process, if anything does."""
        return None

    # -- where the method runs ------------------------------------------------

    @property
    def _must_wait(self) -> bool:
        return not (self.has_room or self.method.is_of_supervisor)

    def _wait_and_start(self) -> None:
        """Start again when there is room; in the trio loop."""
        self.when_room(lambda: None if self.is_cancelled else self.start())

    def _start_in_thread(
        self, run: Callable[[], Callable[[], None]], process_call: ProcessCall | None = None
    ) -> None:
        """Call ``run`` in a thread, where it may wait for a process."""
        job = self._pools.start_in_thread(run, self.method, refused=self._refused)
        self._work = job if process_call is None else ProcessWork(process_call, job)

    def _run_in_loop(self) -> Coroutine[Any, Any, None]:
        return self._run_when_room() if self._must_wait else self._run_async(self._call_method)

    async def _run_when_room(self) -> None:
        event = trio.Event()
        self.when_room(event.set)
        await event.wait()
        await self._run_in_loop()

    def _run_in_thread(self) -> Callable[[], None]:
        if self._must_wait:
            return self._wait_and_start
        try:
            result = self._call_method()
            if type(result) in PLAIN_TYPES:  # to ask more of it takes longer
                return self.returned(result)
            if isinstance(result, AsyncIterator) or _is_awaitable(result):
                return functools.partial(self._continue_in_loop, result)
            return self.returned(result)
        except BaseException as exc:  # SystemExit too: it is the method's, not the machine's
            return self._failed(exc)

    def _run_in_process(self, process_call: ProcessCall) -> Callable[[], None]:
        if self._must_wait:
            return self._wait_and_start
        try:
            return self.replied(
                *process_call.run(self.pickled_arguments(), tracing=self.process_tracing)
            )
        except BaseException as exc:
            return self._failed(exc)

    def _continue_in_loop(self, result: Any) -> None:
        if self.is_cancelled:
            getattr(result, "close", do_nothing)()  # a coroutine, which would warn
        else:
            job = self._pools.tasks.start(lambda: self._run_async(lambda: result))
            self._work = ResultInLoop(result, job)

    def _call_method(self) -> Any:
        args, kwargs = self.load_arguments()
        try:
            return self.method.function(*args, **kwargs)
        except TypeError as exc:
            hint_at_options(exc, kwargs)
            raise

    async def _run_async(self, begin: Callable[[], Any]) -> None:
        """Await what ``begin`` returns, or send its items; reply."""
        exclusive = self.method.exclusive
        try:
            if exclusive is None:
                items = await self._reply(begin())
            else:
                async with exclusive.inside():
                    items = await self._reply(begin())
            if items is not None:
                await self.send_items(items)
        except BaseException as exc:
            # A method may also raise a Cancelled of its own, when nothing was cancelled.
            if isinstance(exc, trio.Cancelled) and _is_cancelled():
                if not self.is_cancelled:
                    # By a scope that the method has left open, or since all ends: other tasks know.
                    self._pools.tasks.start(functools.partial(self._fail_unless_all_ends, exc))
                raise
            self._failed(exc, in_loop=True)()

    async def _fail_unless_all_ends(self, exc: trio.Cancelled) -> None:
        if not _is_cancelled():
            self._failed(exc, in_loop=True)()

    async def _reply(self, result: Any) -> AsyncIterator[Any] | None:
        """Await ``result`` and reply; or return its items, if it has some."""
        while type(result) not in PLAIN_TYPES:  # to ask more of it takes longer
            if isinstance(result, AsyncIterator):
                return result
            if not _is_awaitable(result):
                break
            result = await result
        self.returned(result)()
        return None

    def _refused(self, error: CallError) -> None:
        self._failed(error)()

    def _failed(self, exc: BaseException, *, in_loop: bool = False) -> Callable[[], None]:
        try:
            return self.raised(explain_asyncio(self.method.name, exc) if in_loop else exc)
        except BaseException as again:  # while it was described: its __str__, for instance
            name = type(exc).__qualname__
            return self.raised(RuntimeError(f"a {name}, which raised a {type(again).__name__}"))


PLAIN_TYPES = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set}
)
"""What is neither awaitable nor an iterator."""


def _is_cancelled() -> bool:
    """Whether this task is cancelled, by any scope around it."""
    return trio.current_effective_deadline() == -math.inf


def _is_awaitable(result: object) -> bool:
    # As `inspect.isawaitable`, which takes longer than all else here.
    kind = type(result)
    return hasattr(kind, "__await__") or (kind is GeneratorType and inspect.isawaitable(result))
