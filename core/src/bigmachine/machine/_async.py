"""The async API of one machine: its properties, and calls to its services."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any, TypeVar, cast

import trio

from .._backoff import backoff
from .._values import DiskInfo, Instance, LoadInfo, MemoryInfo, Notice, State, Termination
from ..errors import MachineStopped, StopReason
from ..rpc import ConnectionLost, IncomingStream
from ..services._handle import Handle
from ..services._stub import make_stub
from ._controller import Controller

logger = logging.getLogger("bigmachine.machine")

T = TypeVar("T")


class AsyncMachine(Handle):
    """A machine that the session has started, or is only connected to.

    Made by `AsyncSession.start` and `AsyncSession.connect`. A call made before the
    machine is ``RUNNING`` waits for it; on one that is ``STOPPED`` it raises
    `MachineStopped` at once, and so do the calls in flight when it stops.
    """

    _instead = "pass its addr: a service's setup() gets a session that can connect() to it there"

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def __repr__(self) -> str:
        return f"<Machine {self.name} {self.state} at {self.instance.address}>"

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
    def notices(self) -> list[Notice]:
        """What its provider has announced about it so far; only for an owned machine."""
        return [*self._controller.notices.all]

    async def wait(self, state: State = State.RUNNING) -> None:
        """Wait until it has reached ``state``, or a later one."""
        await self._controller.lifecycle.wait(state)

    async def call(self, method: str, /, *args: Any, retry: bool = False, **kwargs: Any) -> Any:
        """Call ``"Service.method"`` on the machine; return what the method returns.

        Iterators and files among the arguments are streamed to the machine. With ``retry``,
        the call is repeated with growing pauses after each error that is ``temporary``, as
        long as the machine is not ``STOPPED``; the method may then run more than once.
        Cancelling the call cancels the method.

        Raises the method's own exception with a `RemoteError` as its cause,
        `MachineStopped`, `TransportError` or `UsageError`.
        """
        waits = backoff() if retry else None
        while True:
            try:
                connection = self._controller.connection or await self._controller.connected()
                return await connection.call(method, args, kwargs)
            except ConnectionLost as exc:
                error: Exception = await self._controller.explain(exc)
            except Exception as exc:
                error = exc
            if waits is None or not getattr(error, "temporary", False):
                raise error
            pause = next(waits)
            logger.debug("%s: %s: %s; again in %.2f s", self.name, method, error, pause)
            await trio.sleep(pause)

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> AsyncStream:
        """Call a generator method; iterate over what it yields with ``async for``.

        The machine is at most 4 MiB ahead of you. Closing the stream, or leaving an
        ``async with`` around it, ends the generator on the machine.
        """
        return AsyncStream(self._controller, method, args, kwargs)

    def service(self, interface: type[T], name: str) -> T:
        """Return a typed stub: its methods call those of the service called ``name``.

        ``interface`` is the service's class, or any class or Protocol with the
        methods' signatures. Each call must be awaited, so type checkers accept an
        interface whose methods are ``async def``; generators become async iterators.
        """
        return make_stub(interface, name, call=self.call, stream=self.stream)

    async def memory(self) -> MemoryInfo:
        """Measure its memory."""
        return cast(MemoryInfo, await self.call("Supervisor.memory"))

    async def disk(self) -> DiskInfo:
        """Measure the space on its disk."""
        return cast(DiskInfo, await self.call("Supervisor.disk"))

    async def load(self) -> LoadInfo:
        """Read its load averages."""
        return cast(LoadInfo, await self.call("Supervisor.load"))

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

    def stopped(self) -> MachineStopped:
        """Return the error that a call to it raises now that it is stopped."""
        return self._controller.lifecycle.stopped_error()


class AsyncStream(Handle):
    """The items of a generator method: an async iterator and an async context manager."""

    _instead = "pass its items"

    def __init__(
        self,
        controller: Controller,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._controller = controller
        self._call = (method, args, kwargs)
        self._incoming: IncomingStream | None = None
        self._is_closed = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return (await self.receive(1))[0]

    async def receive(self, max_items: int | None = None) -> list[Any]:
        """Wait for an item; return it and those that have arrived, ``max_items`` at most.

        Raises `StopAsyncIteration` at the end.
        """
        if self._is_closed:
            raise StopAsyncIteration
        try:
            if self._incoming is None:
                self._incoming = await self._open()
            return await self._incoming.receive(max_items)
        except ConnectionLost as exc:
            error = await self._controller.explain(exc)
        raise error

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the generator on the machine, if it has not ended."""
        self._is_closed = True
        if self._incoming is not None:
            self._incoming.close()
        await trio.lowlevel.checkpoint()

    def __del__(self) -> None:
        # Dropped before its end, perhaps in another thread: the generator must end, too.
        if not self._is_closed and self._incoming is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._incoming.close)

    async def _open(self) -> IncomingStream:
        self._token = trio.lowlevel.current_trio_token()
        connection = self._controller.connection or await self._controller.connected()
        return await connection.stream(*self._call)
