"""The calls to one machine: pickled, sent, explained when they are lost, repeated, timed out."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from weakref import WeakSet

import trio
from outcome import Error, Outcome, Value

from ..._backoff import backoff
from ..._values import State
from ...errors import CallTimeout, MachineStopped, RemoteError
from ...rpc import Connection, ConnectionLost, IncomingStream, PickledCall, pickle_call
from ...services._functions import name_of
from ...services._handle import Handle
from .._controller import Controller
from .._submitted import Submitted
from .._time_limits import TimeLimits
from ..output._handle_record import handled_record
from ._observed_call import ObservedCall
from ._options import CallOptions
from ._unfinished import UNTRIED, Unfinished

logger = logging.getLogger("bigmachine.machine")

Method: TypeAlias = str | Callable[..., Any]
"""``"Service.method"``, or the function of a service's class."""


class Calls:
    """Makes the calls to one machine, for both of its APIs, with the same ``options``."""

    def __init__(self, controller: Controller, options: CallOptions) -> None:
        self.options = options
        self._controller = controller

    @property
    def machine(self) -> str:
        """The machine's name."""
        return self._controller.name

    @property
    def time_limits(self) -> TimeLimits:
        """The clock of ``timeout``."""
        return self._controller.time_limits

    @property
    def open_streams(self) -> WeakSet[Handle]:
        """See `ActivityMonitor.open_streams`."""
        return self._controller.activity.open_streams

    def pickle(
        self,
        method: Method,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        copy: bool = False,
        is_stream: bool = False,
    ) -> PickledCall:
        """Pickle a call, in any thread; see `rpc.pickle_call`. If it is observed, it begins here.

        A stream begins later.
        """
        if callable(method):
            method = name_of(method, self._controller.interfaces, machine=self.machine)
        call = pickle_call(method, args, kwargs, copy=copy)
        if not self._controller.plugins.observes_calls or call.method.startswith("Supervisor."):
            return call
        observed = ObservedCall(*call)
        observed.prepare(self._controller, is_stream=is_stream)
        if not is_stream:
            observed.start()
        return observed

    def at_once(self, call: PickledCall) -> Any:
        """Make a call in this thread, past the loop: return what the method returned, or raise.

        Or return an `Unfinished`, if the rest is up to `outcome`. A call takes the way of submitted
        ones that may still be on it, so as not to arrive before them.
        """
        connection, timeout = self._controller.connection, self.options.timeout
        if (
            connection is None
            or (lanes := connection.lanes) is None
            or self._controller.submitted
            or type(call) is ObservedCall
            or handled_record.is_of_machine  # `Portal.start` says what is wrong
        ):
            return UNTRIED
        deadline = None
        if timeout == math.inf:
            outcome = lanes.outcome(call)
        else:
            deadline = self.deadline()
            time_left = functools.partial(self._time_left, call.method, deadline)
            outcome = lanes.outcome(call, time_left)
        if type(outcome) is Value:
            return outcome.value
        if outcome is None and deadline is None:
            return UNTRIED
        settled = outcome and self.settled(outcome)
        return settled.unwrap() if settled is not None else Unfinished(outcome, deadline)

    def deadline(self) -> float:
        """Return when a call that begins now has to be done, by the clock of time limits."""
        return self.time_limits.time() + self.options.timeout

    @property
    def submitted(self) -> Submitted:
        """The calls that were submitted, and may be on their way."""
        return self._controller.submitted

    async def outcome(
        self,
        call: PickledCall,
        *,
        first: Outcome[Any] | None = None,
        deadline: float | None = None,
    ) -> Outcome[Any]:
        """Make a call; return what the method returned, or what is to be raised.

        ``first`` is the outcome of a first attempt that was made at `connection`, or `at_once`;
        ``deadline`` is that of the call, if it began before.
        """
        if self.options.timeout == math.inf:
            connection = self._controller.connection
            if first is None and connection is not None:
                # A shortcut for most calls: each further coroutine costs a microsecond.
                first = await connection.outcome(call)
            return (first and self.settled(first)) or await self._repeat(call, first)
        limits = self.time_limits
        with limits.until(self.deadline() if deadline is None else deadline):
            return await self._repeat(call, first)
        return Error(self.timed_out(call.method))

    @property
    def connection(self) -> Connection | None:
        """Where the first attempt of a call can be made without a task; None if nowhere, now.

        If what comes of that is not `settled`, the rest of the call is up to `outcome`.
        """
        return self._controller.connection

    def settled(self, outcome: Outcome[Any]) -> Outcome[Any] | None:
        """Return the final outcome after an attempt with this one; None if that is still open."""
        if type(outcome) is not Error:  # isinstance() takes half a microsecond here
            return outcome
        error = outcome.error
        if isinstance(error, ConnectionLost):
            if self._controller.lifecycle.state < State.STOPPED:
                return None
            error = self._controller.lifecycle.stopped_error(error.method)
        return None if self._may_repeat(error) else Error(error)

    async def open_stream(self, call: PickledCall) -> IncomingStream:
        """Call a generator method."""
        connection = self._controller.connection or await self._controller.connected()
        return await connection.open_stream(call)

    async def explain(self, lost: ConnectionLost) -> Exception:
        """Wait until it is known why a connection was lost; return what to raise."""
        return await self._controller.explain(lost)

    def timed_out(self, method: str) -> CallTimeout:
        """Return the error of a call or stream that has exceeded the ``timeout``."""
        name, timeout = self._controller.name, self.options.timeout
        if self._controller.lifecycle.state < State.RUNNING:
            message = f"{method}: {name} was not RUNNING after {timeout:g} s; nothing was called"
        else:
            message = f"{method} on {name} was not done after {timeout:g} s and was cancelled"
        return CallTimeout(message, addr=self._controller.addr, method=method, timeout=timeout)

    def stopped(self) -> MachineStopped:
        """Return a new error for a call to the machine, now that it is stopped."""
        return self._controller.lifecycle.stopped_error()

    def _time_left(self, method: str, deadline: float) -> float:
        if (seconds := deadline - self.time_limits.time()) > 0:
            return seconds
        raise self.timed_out(method)

    async def _repeat(self, call: PickledCall, outcome: Outcome[Any] | None) -> Outcome[Any]:
        waits: Iterator[float] | None = None
        while True:
            outcome = outcome or await self._attempt(call)
            if isinstance(outcome, Value):
                return outcome
            assert isinstance(outcome, Error)
            error = outcome.error
            if isinstance(error, ConnectionLost):
                error = await self.explain(error)
            # An iterator or a file can be read only once.
            if call.uploads is not None or not self._may_repeat(error):
                return Error(error)
            waits = waits or backoff()
            outcome, pause = None, next(waits)
            if type(call) is ObservedCall:
                call.attempts += 1
            logger.debug(
                "%s: %s: %s; again in %.2f s", self._controller.name, call.method, error, pause
            )
            await trio.sleep(pause)

    async def _attempt(self, call: PickledCall) -> Outcome[Any]:
        try:
            connection = self._controller.connection or await self._controller.connected()
        except MachineStopped as exc:
            return Error(exc.with_traceback(None))
        return await connection.outcome(call)

    def _may_repeat(self, error: BaseException) -> bool:
        # What the method itself raised is the outcome of the call: it is given to the caller.
        is_of_method = isinstance(error.__cause__, RemoteError)
        return self.options.retry and not is_of_method and bool(getattr(error, "temporary", False))
