"""Futures whose work is done in a session's trio loop."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio
from outcome import Error, Outcome, Value

from ...errors import BigmachineError, MachineError, UsageError
from ...rpc import Connection, PickledCall, loaded
from ...services._tracebacks import short_traceback, shorten_traceback
from ._calls import Calls
from ._observed_call import ObservedCall
from ._unasked_error import UnaskedError
from ._unfinished import UNTRIED, Unfinished
from ._yielding_future import YieldingFuture

if TYPE_CHECKING:
    from ...rpc.loop._tasks import Job, TaskPool

T = TypeVar("T")


class Loop(Protocol):
    """What a future needs of its session's loop; the `Portal` is one."""

    tasks: TaskPool

    def post(self, function: Callable[[], object]) -> None:
        """Call ``function`` in the loop, soon."""

    def call_back(
        self,
        function: Callable[[concurrent.futures.Future[T]], object],
        future: concurrent.futures.Future[T],
    ) -> None:
        """Call a done-callback in a thread that may wait."""

    def run_in_thread(self, function: Callable[[], object]) -> None:
        """Call ``function`` in such a thread; in the loop."""


class LoopEnded(UsageError):
    """The session that owned the loop is over."""

    def __init__(self) -> None:
        super().__init__("the session is shut down; open a new one")


class LoopFuture(YieldingFuture[T]):
    """A future that keeps to the protocol of `concurrent.futures`.

    Unlike a thread's, its work can be cancelled at any time. Its done-callbacks never run in the
    loop's thread, so they may call machines and wait. A subclass supplies `begin` and `abandon`,
    which are called in the loop.
    """

    _is_begun = False
    _job: Job | None = None

    def __init__(self, portal: Loop) -> None:
        super().__init__()
        self._portal = portal

    def begin(self) -> None:
        """Begin the work, unless the future was cancelled before."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Cancel the work."""
        raise NotImplementedError

    def running(self) -> bool:
        """Return True if the work has begun and is not done; it can be cancelled even so."""
        return self._is_begun and not self.done()

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call ``fn`` with the future when it is done; in a thread that may wait."""
        super().add_done_callback(functools.partial(self._portal.call_back, fn))

    def resolve(self, outcome: Outcome[T]) -> None:
        """Set the outcome, in the loop; without effect if the future was cancelled."""
        result, error = None, None
        if type(outcome) is Value:
            result = outcome.value
        elif type(outcome) is Error:
            error = outcome.error
            shorten_traceback(error)
        # The loop must not wait for a thread: one that a signal handler, or a __del__, has
        # interrupted while it holds this lock may wait for the loop.
        if self._condition.acquire(blocking=False):
            try:
                self.finish(result, error)
            finally:
                self._condition.release()
        else:
            self._portal.run_in_thread(functools.partial(self.finish, result, error))

    def _invoke_callbacks(self) -> None:
        """Do what is due before the user's callbacks run, then run these."""
        if self.is_cancelled:
            # Tells `concurrent.futures.wait` and `as_completed`.
            self.set_running_or_notify_cancel()
            with contextlib.suppress(UsageError):  # the loop has ended, or is another process's
                self._portal.post(self.abandon)
        # All in one thread, so that one of them waits for those that were added before it.
        self._portal.call_back(concurrent.futures.Future._invoke_callbacks, self)  # type: ignore[attr-defined]


class TaskFuture(LoopFuture[T]):
    """The future of an async function, which runs as a task of the portal."""

    def __init__(self, portal: Loop, function: Callable[[], Awaitable[T]]) -> None:
        super().__init__(portal)
        self._function = function

    def begin(self) -> None:
        if not self.is_cancelled:
            self._is_begun = True
            try:
                self._job = self._portal.tasks.start(self._run)
            except RuntimeError:  # the portal's nursery has ended
                self.resolve(Error(LoopEnded()))

    def abandon(self) -> None:
        if self._job is not None:
            self._job.cancel()

    async def _run(self) -> None:
        try:
            outcome: Outcome[T] = Value(await self._function())
        except trio.Cancelled:
            # By the end of the loop, if not by `abandon`.
            self.resolve(Error(LoopEnded()))
            raise
        except BaseException as exc:
            outcome = Error(exc)
        self._job = None
        self.resolve(outcome)


class CallFuture(LoopFuture[Any]):
    """The future of a call to a machine. While it waits for the reply, it needs no task.

    ``unfinished`` is what has been done already.
    """

    _connection: Connection | None = None  # while it waits there for the reply to
    _number = 0
    _timeout = math.inf  # other than that while it has a limit for which it needs no task
    _unasked: UnaskedError | None = None  # what it raised, if that is not what others log

    def __init__(
        self, portal: Loop, calls: Calls, call: PickledCall, unfinished: Unfinished = UNTRIED
    ) -> None:
        super().__init__(portal)
        self._unfinished = unfinished
        self._calls = calls
        self._method = call.method
        self._call: PickledCall | None = call  # until it is done

    def __repr__(self) -> str:
        state = "running" if self.running() else "pending"
        if self.cancelled():
            state = "cancelled"
        elif self.done():
            error = self.exception()
            state = (
                f"returned {type(self.result()).__name__}"
                if error is None
                else (f"raised {type(error).__name__}")
            )
        return f"<Future of {self._method} on {self._calls.machine}, {state}>"

    @short_traceback
    def result(self, timeout: float | None = None) -> Any:
        """Return what the method returned, or raise what it raised."""
        return loaded(super().result(timeout))

    @short_traceback
    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the method raised, or None; what it returned is unpickled here."""
        error = super().exception(timeout)
        if error is None:
            try:
                loaded(self._result)
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt):
                    raise
                shorten_traceback(exc)
                return exc
        return error

    def _get_snapshot(self) -> tuple[bool, bool, Any, BaseException | None]:
        """Return what asyncio asks for from Python 3.14 on: whether it is done, and with what."""
        if not self.done():
            return False, False, None, None
        if self.cancelled():
            return True, True, None, None
        error = self.exception()
        return True, False, loaded(self._result) if error is None else None, error

    def begin(self) -> None:
        if self._call is None or self.is_cancelled:
            return
        self._is_begun = True
        if self._unfinished is not UNTRIED:
            # A task keeps its deadline, which is less than a whole timeout away.
            self._continue(self._unfinished.first)
            return
        connection = self._calls.connection
        number = None
        if connection is not None:
            try:
                number = connection.start(self._call, self._replied)
            except BigmachineError as exc:
                self._attempted(Error(exc.with_traceback(None)))
                return
        if number is None:
            self._continue(None)
            return
        self._connection, self._number = connection, number
        timeout = self._calls.options.timeout
        if timeout < math.inf:
            self._timeout = timeout
            try:
                self._calls.time_limits.limit(self, timeout, tasks=self._portal.tasks)
            except RuntimeError:  # the portal's nursery has ended
                self._stop()
                self.resolve(Error(self._calls.stopped()))

    def abandon(self) -> None:
        self._calls.submitted.discard(self)
        call, self._call = self._call, None
        if type(call) is ObservedCall:
            call.cancelled()
        self._stop()

    def expire(self) -> None:
        """End the call: its ``timeout`` has passed."""
        self._stop()
        self.resolve(Error(self._calls.timed_out(self._method)))

    def _stop(self) -> None:
        """Cancel what is under way."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel(self._number)
        if self._job is not None:
            self._job.cancel()
        self._lift_limit()

    def _lift_limit(self) -> None:
        if self._timeout < math.inf:
            self._calls.time_limits.lift(self, self._timeout)

    def resolve(self, outcome: Outcome[Any]) -> None:
        self._calls.submitted.discard(self)
        call, self._call, self._job = self._call, None, None
        self._lift_limit()
        if type(call) is ObservedCall:
            call.ended(outcome)
        super().resolve(outcome)

    def note_failed(self, error: BaseException) -> None:
        if not isinstance(error, MachineError | LoopEnded):
            self._unasked = UnaskedError(self._method, self._calls.machine, error)

    def note_asked(self) -> None:
        if self._unasked is not None:
            self._unasked.ask()

    def _replied(self, reply: object) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        self._attempted(connection.load(self._method, reply))

    def _attempted(self, outcome: Outcome[Any]) -> None:
        settled = self._calls.settled(outcome)
        if settled is not None:
            self.resolve(settled)
        else:
            self._continue(outcome)

    def _continue(self, first: Outcome[Any] | None) -> None:
        """Do in a task what is not done, after the ``first`` attempt if there was one."""
        try:
            self._job = self._portal.tasks.start(functools.partial(self._run, first))
        except RuntimeError:  # the portal's nursery has ended
            self.resolve(Error(self._calls.stopped()))

    async def _run(self, first: Outcome[Any] | None) -> None:
        if (call := self._call) is None:
            return
        try:
            outcome = await self._calls.outcome(
                call, first=first, deadline=self._unfinished.deadline
            )
        except trio.Cancelled:
            # By the end of the loop, if not by `abandon`.
            self.resolve(Error(self._calls.stopped()))
            raise
        except BaseException as exc:
            outcome = Error(exc)
        self.resolve(outcome)
