"""The synchronous face: each method runs its async twin in a trio loop of the session's.

The loop has a thread of its own, so keepalives beat while the program computes, and
a running asyncio loop (a notebook's) is none of its business.

trio is imported when a session opens, not before: by then the system is coming up.
"""

from __future__ import annotations

import atexit
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ._entrypoints import choose_system
from ._options import environment_options
from ._stub import make_stub
from ._values import (
    Cost,
    DiskInfo,
    EnvironmentOptions,
    Instance,
    LoadInfo,
    MemoryInfo,
    Notice,
    State,
)
from .errors import MachineStopped, UsageError
from .system import System

if TYPE_CHECKING:
    from ._machine import AsyncMachine, AsyncStream
    from ._portal import LoopThread, Portal
    from ._session import AsyncSession

T = TypeVar("T")
R = TypeVar("R")


class Session:
    """An ad-hoc cluster, for as long as its ``with`` block runs.

    ::

        with Session("local") as session:
            machines = session.start(5, services={"PI": CirclePI()})
            hits = machines[0].call("PI.sample", 1_000_000)

    See `AsyncSession`, whose synchronous face this is. In a notebook the ``with``
    may be left out: the session opens when it is first used, and `shutdown` or
    the interpreter's end closes it. Ctrl-C in any call cancels what it waits for,
    on the machine too, and leaves the session usable. Safe to use from several
    threads, but not after `os.fork`.
    """

    def __init__(
        self,
        system: str | System | type[System] = "local",
        *,
        name: str | None = None,
        profile: str | None = None,
        plugins: Iterable[object] = (),
        environment: EnvironmentOptions | None = None,
        **options: Any,
    ) -> None:
        self._system = choose_system(system, profile=profile, keywords=options)
        self._environment = environment_options(self._system, environment, profile=profile)
        self._name = name
        self._unique_name: str | None = None
        self._plugins = plugins
        self._thread: LoopThread | None = None
        self._opened: tuple[AsyncSession, Portal] | None = None
        self._session: AsyncSession | None = None  # stays once it is closed
        self._is_shut = False
        self._faces: dict[AsyncMachine, Machine] = {}

    @classmethod
    def on_machine(cls, session: AsyncSession, portal: Portal) -> Session:
        """Make the session that a service's ``setup`` gets, over the machine's own loop."""
        face = cls.__new__(cls)
        face._system = session.system
        face._thread = None
        face._unique_name = session.name
        face._opened = (session, portal)
        face._session = session
        face._is_shut = False
        face._faces = {}
        return face

    def __repr__(self) -> str:
        return f"<Session on {self._system.name!r}>"

    def __enter__(self) -> Session:
        self._open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    @property
    def name(self) -> str:
        """Its name, unique in the world; asked for first, it opens the session."""
        if self._unique_name is None:
            self._unique_name = self._open()[0].name
        return self._unique_name

    @property
    def system(self) -> System:
        """The session's system."""
        return self._system

    @property
    def machines(self) -> list[Machine]:
        """Its machines that are not ``STOPPED``, in the order they came."""
        if self._opened is None:
            return []
        return [self._face(machine) for machine in self._opened[0].machines]

    @property
    def cost(self) -> Cost:
        """About what its machines have cost so far; see `AsyncSession.cost`."""
        return Cost() if self._session is None else self._session.cost

    def start(
        self,
        n: int,
        *,
        services: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        argv: Sequence[str] | None = None,
        wait: bool = True,
    ) -> list[Machine]:
        """Start ``n`` machines; see `AsyncSession.start`."""
        session, portal = self._open()
        machines = portal.run(
            session.start, n, services=services, environ=environ, argv=argv, wait=wait
        )
        return [self._face(machine) for machine in machines]

    def connect(self, addr: str) -> Machine:
        """Dial a machine that somebody else owns; see `AsyncSession.connect`."""
        session, portal = self._open()
        return self._face(portal.run(session.connect, addr))

    def shutdown(self) -> None:
        """Free every machine and all else; the session is over. Fine to call again."""
        self._is_shut = True
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._opened = None
            atexit.unregister(self.shutdown)
            thread.close()

    def _open(self) -> tuple[AsyncSession, Portal]:
        if self._opened is None:
            if self._is_shut:
                raise UsageError("the session is shut down; open a new one")
            # On its way while the rest is imported, which takes as long.
            self._system.prepare()
            from ._portal import LoopThread
            from ._session import AsyncSession

            session = AsyncSession(
                self._system,
                name=self._name,
                plugins=self._plugins,
                environment=self._environment,
            )
            self._session = session
            self._thread = LoopThread(session)
            self._opened = (session, self._thread.portal)
            self._unique_name = session.name
            atexit.register(self.shutdown)
        return self._opened

    def _face(self, machine: AsyncMachine) -> Machine:
        assert self._opened is not None
        face = self._faces.get(machine)
        if face is None:
            face = self._faces[machine] = Machine(machine, self._opened[1])
        return face


class Machine:
    """A machine of a `Session`; see `AsyncMachine`, whose synchronous face this is."""

    def __init__(self, machine: AsyncMachine, portal: Portal) -> None:
        self._machine = machine
        self._portal = portal

    def __repr__(self) -> str:
        return repr(self._machine)

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
        """What its provider says of it."""
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
        """Where it is in its life."""
        return self._machine.state

    @property
    def error(self) -> BaseException | None:
        """Why it stopped; None while it has not."""
        return self._machine.error

    @property
    def keepalive_reply_times(self) -> list[float]:
        """How long its last keepalives took, in seconds, the newest first."""
        return self._machine.keepalive_reply_times

    @property
    def notices(self) -> list[Notice]:
        """What its provider has said about its future, so far; of an owned machine alone."""
        return self._machine.notices

    def wait(self, state: State = State.RUNNING) -> None:
        """Wait until it has reached ``state``, or a later one."""
        self._run(self._machine.wait, state)

    def call(self, method: str, /, *args: Any, retry: bool = False, **kwargs: Any) -> Any:
        """Call ``"Service.method"``; see `AsyncMachine.call`."""
        return self._run(self._machine.call, method, *args, retry=retry, **kwargs)

    def submit(self, method: str, /, *args: Any, retry: bool = False, **kwargs: Any) -> Future[Any]:
        """Call ``"Service.method"`` without waiting; cancelling the future cancels the method.

        The future can be given to `concurrent.futures.wait` and ``as_completed``.
        """
        return self._submit(self._machine.call, method, *args, retry=retry, **kwargs)

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Stream:
        """Call a generator method; iterate over what it yields."""
        return Stream(self._machine.stream(method, *args, **kwargs), self._portal)

    def service(self, interface: type[T], name: str) -> T:
        """Return a typed stub: its methods call those of the service called ``name``.

        ``interface`` is the service's class, or any class or Protocol with the
        methods' signatures. Each call blocks until its result is here, so type
        checkers are content with one whose methods are plain ``def``; generators
        become iterators.
        """
        return make_stub(interface, name, call=self.call, stream=self.stream)

    def memory(self) -> MemoryInfo:
        """Read its memory."""
        return self._run(self._machine.memory)

    def disk(self) -> DiskInfo:
        """Read the room on its disk."""
        return self._run(self._machine.disk)

    def load(self) -> LoadInfo:
        """Read its load averages."""
        return self._run(self._machine.load)

    def read(self, path: str) -> bytes:
        """Read a file of its host."""
        return self._run(self._machine.read, path)

    def cancel(self) -> None:
        """Stop it at once: what is pending ends in `MachineStopped`."""
        with contextlib.suppress(UsageError):  # shut down with its session
            self._portal.post(self._machine.cancel)

    def shutdown(self) -> None:
        """Free it, and return when its provider has confirmed that it is gone."""
        with contextlib.suppress(MachineStopped):  # shut down with its session
            self._run(self._machine.shutdown)

    def _run(self, function: Callable[..., Awaitable[R]], *args: Any, **kwargs: Any) -> R:
        from ._portal import LoopEnded

        try:
            return self._portal.run(function, *args, **kwargs)
        except LoopEnded:
            raise self._machine.stopped() from None

    def _submit(
        self, function: Callable[..., Awaitable[R]], *args: Any, **kwargs: Any
    ) -> Future[R]:
        from ._portal import LoopEnded

        try:
            return self._portal.submit(function, *args, **kwargs)
        except LoopEnded:
            raise self._machine.stopped() from None


class Stream:
    """The items of a generator method: an iterator and a context manager."""

    def __init__(self, stream: AsyncStream, portal: Portal) -> None:
        self._stream = stream
        self._portal = portal
        self._items: deque[Any] = deque()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._items:
            try:
                # All that are here: one hop for many small items.
                self._items.extend(self._portal.run(self._stream.take))
            except StopAsyncIteration:
                raise StopIteration from None
        return self._items.popleft()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the generator on the machine, if it has not ended."""
        self._items.clear()
        with contextlib.suppress(UsageError):  # the session was shut down before
            self._portal.run(self._stream.aclose)
