"""The async API of one machine: its properties, and calls to its services."""

from __future__ import annotations

import time
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Never, TypeVar

from outcome import Error, Value

from .._values import (
    DiskInfo,
    Instance,
    LoadInfo,
    MachineInfo,
    MemoryInfo,
    Notice,
    State,
    Termination,
)
from ..errors import StopReason
from ..logs._kept import AsyncLogReader
from ..metrics import Variables
from ..rpc import loaded_once
from ..services._functions import hint_at_method
from ..services._handle import Handle
from ..services._stub import make_stub
from ._async_stream import AsyncStream
from ._controller import Controller
from ._repr import machine_repr, machines_html
from .calls._calls import Calls, Method
from .calls._observed_call import ObservedCall
from .calls._options import CallOptions
from .supervisor._client import SupervisorClient

if TYPE_CHECKING:
    from ..profiling import Profile, ThreadDump

T = TypeVar("T")


class AsyncMachine(Handle):
    """A machine that the session has started, or is only connected to.

    Made by `AsyncSession.start` and `AsyncSession.connect`. A call made before the
    machine is ``RUNNING`` waits for it; on one that is ``STOPPED`` it raises
    `MachineStopped` at once, and so do the calls in flight when it stops.
    """

    _instead = (
        "pass its addr: a service's setup() gets a session that can connect() to it there; "
        "in place of processes of your own, use threads, or submit()"
    )

    def __init__(self, controller: Controller, options: CallOptions | None = None) -> None:
        self._controller = controller
        self._calls = Calls(controller, options or CallOptions())

    def _hint_at(self, name: str) -> str:
        return hint_at_method(name, self._controller.interfaces)

    def __repr__(self) -> str:
        return machine_repr(self)

    def _repr_html_(self) -> str:
        return machines_html([self])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AsyncMachine):
            return NotImplemented
        return self._controller is other._controller

    def __hash__(self) -> int:
        return hash(self._controller)

    @property
    def name(self) -> str:
        """Its short name, unique in the session; each line of its output begins with it."""
        return self._controller.name

    @property
    def addr(self) -> str:
        """Its address, for `AsyncSession.connect` on another machine of the session."""
        return self._controller.addr

    @property
    def instance(self) -> Instance:
        """The machine as its provider knows it."""
        return self._controller.instance

    @property
    def owned(self) -> bool:
        """Whether this session started it, keeps it alive and ends it."""
        return self._controller.owned

    @property
    def maxprocs(self) -> int:
        """How many processors it has; known once it is ``RUNNING`` at the latest."""
        return self._controller.maxprocs or 1

    @property
    def state(self) -> State:
        """Its state."""
        return self._controller.lifecycle.state

    @property
    def error(self) -> BaseException | None:
        """Why it stopped; None if it has not."""
        return self._controller.lifecycle.error

    @property
    def keepalive_reply_times(self) -> list[float]:
        """How long its last keepalives took, in seconds, the newest first."""
        return [*reversed(self._controller.keepalive.reply_times)]

    @property
    def keepalive_age(self) -> float | None:
        """How many seconds ago its last keepalive was answered; None before the first."""
        replied_at = self._controller.keepalive.replied_at
        return None if replied_at is None else time.monotonic() - replied_at

    @property
    def is_silent(self) -> bool:
        """Whether it is late with its reply to a keepalive, and may have ended or hang."""
        return self._controller.keepalive.is_silent

    @property
    def notices(self) -> list[Notice]:
        """What its provider has announced about it so far; only for an owned machine."""
        return [*self._controller.notices.all]

    async def wait(self, state: State = State.RUNNING) -> None:
        """Wait until it has reached ``state``, or a later one."""
        await self._controller.lifecycle.wait(state)

    def with_options(
        self,
        *,
        timeout: float | EllipsisType | None = ...,
        retry: bool | EllipsisType = ...,
        **unknown: Never,
    ) -> AsyncMachine:
        """Return the same machine, with other options for its calls; it equals this one.

        ``timeout`` bounds each call and each stream as a whole, in seconds: the wait for a
        machine that is not ``RUNNING`` yet, the method, and repetitions. A call that is not
        done by then raises `CallTimeout`, and its method is cancelled. None removes the limit.

        With ``retry``, a call is repeated with growing pauses after each error that is
        ``temporary``, as long as the machine is not ``STOPPED``; the method may then run more
        than once. What the method itself raises is not repeated. Streams, and calls with an
        iterator or a file among their arguments, are not repeated either.

        What is not given stays as it is.
        """
        options = self._calls.options.changed(timeout=timeout, retry=retry, **unknown)
        return AsyncMachine(self._controller, options)

    async def call(self, method: Method, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``"Service.method"`` on the machine; return what the method returns.

        The arguments are pickled before anything is awaited. Only numpy arrays and other large
        buffers are sent from where they are: leave them unchanged until the call is done.
        Iterators and files among the arguments are streamed to the machine.

        In place of the name, ``method`` may be the function, ``PI.sample``, if exactly one of
        the machine's services has it. Cancelling the call cancels the method. For a time limit
        and for retries, see `with_options`.

        Raises the method's own exception with a `RemoteError` as its cause,
        `MachineStopped`, `CallTimeout`, `TransportError` or `UsageError`.
        """
        call = self._calls.pickle(method, args, kwargs)
        if type(call) is ObservedCall:
            outcome = await call.outcome_of(self._calls.outcome(call))
        else:
            outcome = await self._calls.outcome(call)
        if type(outcome) is Value:
            return loaded_once(outcome.value)
        assert isinstance(outcome, Error)
        try:
            raise outcome.error
        finally:
            del outcome  # the error's traceback refers to this frame

    def stream(self, method: Method, /, *args: Any, **kwargs: Any) -> AsyncStream:
        """Call a generator method; iterate over what it yields with ``async for``.

        The arguments are copied at once; the generator starts when you ask for the first item.
        The machine is at most 4 MiB ahead of you. Closing the stream, or leaving an
        ``async with`` around it, ends the generator on the machine.
        """
        call = self._calls.pickle(method, args, kwargs, copy=True, is_stream=True)
        return AsyncStream(self._calls, call)

    def service(self, interface: type[T], name: str) -> T:
        """Return a typed stub: its methods call those of the service called ``name``.

        ``interface`` is the service's class, or any class or Protocol with the
        methods' signatures. Each call must be awaited, so type checkers accept an
        interface whose methods are ``async def``; generators become async iterators.
        """
        return make_stub(interface, name, call=self.call, stream=self.stream)

    @property
    def _supervisor(self) -> SupervisorClient:
        return SupervisorClient(self.call)

    async def info(self) -> MachineInfo:
        """Return what it says about itself: its Python, its host, how to log in."""
        return await self._supervisor.info()

    async def memory(self) -> MemoryInfo:
        """Measure its memory."""
        return await self._supervisor.memory()

    async def disk(self) -> DiskInfo:
        """Measure the space on its disk."""
        return await self._supervisor.disk()

    async def load(self) -> LoadInfo:
        """Read its load averages."""
        return await self._supervisor.load()

    async def variables(self) -> Variables:
        """Return its metrics by name: those of its services, and the machine's own.

        `AsyncSession.variables` returns those of all machines. The names are in the documentation
        under "Metrics".
        """
        return Variables.from_dict(await self._supervisor.variables())

    async def profile(self, seconds: float = 10.0, *, hz: float = 100.0) -> Profile:
        """Profile it for ``seconds``: where its CPU time goes, function by function.

        Its process looks at the stacks of its threads ``hz`` times a second; that takes 2 % of
        one processor at most, and needs no permission. The methods go on meanwhile. The samples
        have labels: ``machine``, ``thread``, and for parallel methods their ``process``.
        """
        from ..profiling._checks import check_sampling

        check_sampling(seconds, hz)
        profile = await self._supervisor.profile(seconds, hz)
        return profile.labelled(machine=self.name)

    async def heap(self, seconds: float = 0.0) -> Profile:
        """Show what is in its memory, in bytes.

        With ``seconds``, it traces for so long which lines allocate memory, and shows what is
        still alive at the end: what grows. That makes code that allocates much a few times slower.

        Without, it shows all there is: by line if its ``PYTHONTRACEMALLOC`` is set, as by
        ``start(environ={"PYTHONTRACEMALLOC": "16"})``, otherwise by type.
        """
        from ..profiling._checks import check_heap

        check_heap(seconds)
        profile = await self._supervisor.heap(seconds)
        return profile.labelled(machine=self.name)

    async def threads(self) -> ThreadDump:
        """Return the stack of each of its threads and trio tasks: what it does, or waits in."""
        dump = await self._supervisor.threads()
        return dump.labelled(machine=self.name)

    def logs(self, *, follow: bool = True) -> AsyncLogReader:
        """Return what it has printed and logged: its last 64 kB, then what comes, until it ends.

        An async iterator of `LogLine`. Without ``follow``, it ends with what there is now. One
        that is read too slowly misses lines: a `LogLine` in their place says how many. What a
        machine has printed that this session did not start, only the session knows that did.
        """
        return self._controller.logs.read(self.name, follow=follow)

    async def read(self, path: str) -> bytes:
        """Read a file of its host; raises `NotSupportedError` if the system can't."""
        chunks = self._controller.plugins.hooks.read(instance=self.instance, path=path)
        return b"".join([chunk async for chunk in chunks])

    def cancel(self) -> None:
        """Stop it at once: pending calls raise `MachineStopped`.

        Returns before it is freed; `shutdown` waits for that.
        """
        self._controller.stop(Termination(StopReason.CANCELLED, "it was cancelled"))

    async def shutdown(self) -> None:
        """Free it, and return when its provider has confirmed that it is gone.

        Disconnects from a machine that this session did not start.
        """
        await self._controller.shutdown()
