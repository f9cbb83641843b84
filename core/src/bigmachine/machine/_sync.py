"""The sync API of one machine: each method runs its async twin in the session's loop."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Never, TypeVar

from .._values import (
    DiskInfo,
    Instance,
    LoadInfo,
    LogLine,
    MachineInfo,
    MemoryInfo,
    Notice,
    State,
)
from ..errors import MachineStopped, UsageError
from ..services._handle import Handle
from ..services._stub import make_stub
from ..services._tracebacks import short_tracebacks
from ._log_lines import LogLines
from ._repr import machine_repr, machines_html
from .calls._unfinished import UNTRIED, Unfinished

if TYPE_CHECKING:
    from ..metrics import Variables
    from ..profiling import Profile, ThreadDump
    from ..rpc import PickledCall
    from ._async import AsyncMachine
    from ._async_stream import AsyncStream
    from ._portal import Portal
    from .calls._calls import Calls, Method
    from .calls._future import CallFuture

T = TypeVar("T")
R = TypeVar("R")


@short_tracebacks
class Machine(Handle):
    """A machine of a `Session`: the sync API of `AsyncMachine`."""

    _instead = (
        "pass its addr: a service's setup() gets a session that can connect() to it there; "
        "in place of processes of your own, use threads, or submit()"
    )

    def __init__(self, machine: AsyncMachine, portal: Portal) -> None:
        self._machine = machine
        self._calls: Calls = machine._calls
        self._portal = portal

    def _hint_at(self, name: str) -> str:
        return self._machine._hint_at(name)

    def __repr__(self) -> str:
        return machine_repr(self)

    def _repr_html_(self) -> str:
        return machines_html([self])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Machine):
            return NotImplemented
        return self._machine == other._machine

    def __hash__(self) -> int:
        return hash(self._machine)

    @property
    def name(self) -> str:
        """Its short name, unique in the session."""
        return self._machine.name

    @property
    def addr(self) -> str:
        """Its address, for `Session.connect` on another machine of the session."""
        return self._machine.addr

    @property
    def instance(self) -> Instance:
        """The machine as its provider knows it."""
        return self._machine.instance

    @property
    def owned(self) -> bool:
        """Whether this session started it, keeps it alive and ends it."""
        return self._machine.owned

    @property
    def maxprocs(self) -> int:
        """How many processors it has; known once it is ``RUNNING`` at the latest."""
        return self._machine.maxprocs

    @property
    def state(self) -> State:
        """Its state."""
        return self._machine.state

    @property
    def error(self) -> BaseException | None:
        """Why it stopped; None if it has not."""
        return self._machine.error

    @property
    def keepalive_reply_times(self) -> list[float]:
        """How long its last keepalives took, in seconds, the newest first."""
        return self._machine.keepalive_reply_times

    @property
    def keepalive_age(self) -> float | None:
        """How many seconds ago its last keepalive was answered; None before the first."""
        return self._machine.keepalive_age

    @property
    def is_silent(self) -> bool:
        """Whether it is late with its reply to a keepalive, and may have ended or hang."""
        return self._machine.is_silent

    @property
    def notices(self) -> list[Notice]:
        """What its provider has announced about it so far; only for an owned machine."""
        return self._machine.notices

    def wait(self, state: State = State.RUNNING) -> None:
        """Wait until it has reached ``state``, or a later one."""
        # A state that is reached already needs no loop: the session may be shut down.
        if not isinstance(state, State) or self.state < state:
            self._run(self._machine.wait, state)

    def with_options(
        self,
        *,
        timeout: float | EllipsisType | None = ...,
        retry: bool | EllipsisType = ...,
        **unknown: Never,
    ) -> Machine:
        """Return the same machine, with other options for its calls; it equals this one.

        ``timeout`` bounds each call and each stream as a whole, in seconds, and ``retry``
        repeats calls after temporary errors; see `AsyncMachine.with_options`.
        """
        machine = self._machine.with_options(timeout=timeout, retry=retry, **unknown)
        return Machine(machine, self._portal)

    def call(self, method: Method, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``"Service.method"``, and wait for what it returns.

        What the method raises is raised here, and `MachineStopped` if the machine stops. All other
        arguments are the method's: `with_options` sets a time limit. See `AsyncMachine.call`.
        """
        self._portal.check_may_wait()
        calls = self._calls
        call = calls.pickle(method, args, kwargs)
        result = calls.at_once(call)
        if type(result) is Unfinished:
            return self._begin(self._portal.wait, call, result)
        return result

    def submit(self, method: Method, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``"Service.method"`` without waiting; cancelling the future cancels the method.

        The arguments are copied at once: what changes afterwards does not travel. The future
        can be given to `concurrent.futures.wait` and ``as_completed``. As with other futures there,
        an error is told only to those who ask for the ``result`` or ``exception``. Its
        done-callbacks run in a thread of their own, and may call machines.
        """

        def begin(future: CallFuture) -> CallFuture:
            submitted = self._calls.submitted
            try:
                submitted.add(future)
                return self._portal.start(future)
            except BaseException:  # nobody has the future; further calls must not wait for it
                submitted.discard(future)
                raise

        return self._begin(begin, self._calls.pickle(method, args, kwargs, copy=True))

    def stream(self, method: Method, /, *args: Any, **kwargs: Any) -> Stream:
        """Call a generator method; iterate over what it yields; see `AsyncMachine.stream`."""
        return Stream(self._machine.stream(method, *args, **kwargs), self._run)

    def service(self, interface: type[T], name: str) -> T:
        """Return a typed stub: its methods call those of the service called ``name``.

        ``interface`` is the service's class, or any class or Protocol with the
        methods' signatures. Each call waits for its result, so type checkers accept an
        interface whose methods are plain ``def``; generators become iterators.
        """
        return make_stub(interface, name, call=self.call, stream=self.stream)

    def info(self) -> MachineInfo:
        """Return what it says about itself: its Python, its host, how to log in."""
        return self._run(self._machine.info)

    def memory(self) -> MemoryInfo:
        """Measure its memory."""
        return self._run(self._machine.memory)

    def disk(self) -> DiskInfo:
        """Measure the space on its disk."""
        return self._run(self._machine.disk)

    def load(self) -> LoadInfo:
        """Read its load averages."""
        return self._run(self._machine.load)

    def variables(self) -> Variables:
        """Return its metrics by name; see `AsyncMachine.variables`."""
        return self._run(self._machine.variables)

    def profile(self, seconds: float = 10.0, *, hz: float = 100.0) -> Profile:
        """Profile it for ``seconds``; see `AsyncMachine.profile`."""
        return self._run(self._machine.profile, seconds, hz=hz)

    def heap(self, seconds: float = 0.0) -> Profile:
        """Show what is in its memory, in bytes; see `AsyncMachine.heap`."""
        return self._run(self._machine.heap, seconds)

    def threads(self) -> ThreadDump:
        """Return the stack of each of its threads and trio tasks; see `AsyncMachine.threads`."""
        return self._run(self._machine.threads)

    def logs(self, *, follow: bool = True) -> Iterator[LogLine]:
        """Return what it has printed and logged, and then what comes; see `AsyncMachine.logs`."""
        return LogLines(self._machine.logs(follow=follow), run=self._portal.run)

    def read(self, path: str) -> bytes:
        """Read a file of its host."""
        return self._run(self._machine.read, path)

    def cancel(self) -> None:
        """Stop it at once: pending calls raise `MachineStopped`."""
        with contextlib.suppress(UsageError):  # it was shut down with its session
            self._portal.post(self._machine.cancel)

    def shutdown(self) -> None:
        """Free it, and return when its provider has confirmed that it is gone."""
        with contextlib.suppress(MachineStopped):  # it was shut down with its session
            self._run(self._machine.shutdown)

    def _begin(
        self,
        begin: Callable[[CallFuture], R],
        call: PickledCall,
        unfinished: Unfinished = UNTRIED,
    ) -> R:
        from .calls._future import CallFuture, LoopEnded
        from .calls._observed_call import ObservedCall

        try:
            return begin(CallFuture(self._portal, self._calls, call, unfinished))
        except LoopEnded:
            error = self._calls.stopped()
            if type(call) is ObservedCall:
                call.raised(error)
            raise error from None

    def _run(self, function: Callable[..., Awaitable[R]], *args: Any, **kwargs: Any) -> R:
        from .calls._future import LoopEnded

        try:
            return self._portal.run(function, *args, **kwargs)
        except LoopEnded:
            raise self._calls.stopped() from None


def sync_api(portal: Portal) -> Callable[[AsyncMachine], Machine]:
    """Return a function that gives each machine of a session its one sync API, in any thread."""
    machines: dict[AsyncMachine, Machine] = {}

    def sync(machine: AsyncMachine) -> Machine:
        known = machines.get(machine)
        return known or machines.setdefault(machine, Machine(machine, portal))  # atomic

    return sync


@short_tracebacks
class Stream(Handle):
    """The items of a generator method: an iterator and a context manager.

    Several threads may read it; each item goes to one of them.
    """

    _instead = "pass its items"

    def __init__(self, stream: AsyncStream, run: Callable[..., Any]) -> None:
        from ..rpc import ThreadIterator

        self._stream = stream
        self._run = run
        self._items = ThreadIterator(functools.partial(run, stream.receive))

    def __repr__(self) -> str:
        return repr(self._stream)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the generator on the machine, if it has not ended."""
        self._items.clear()
        with contextlib.suppress(MachineStopped):  # the session was shut down before
            self._run(self._stream.aclose)
