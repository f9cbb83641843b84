"""A machine from the outside: its state, its life's loop, and calls to its services."""

from __future__ import annotations

import contextlib
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio

from ._output import BootLog, Output
from ._plugins import Plugins
from ._stub import make_stub
from ._values import (
    DiskInfo,
    Gone,
    Info,
    Instance,
    Keepalive,
    KeepaliveReply,
    LoadInfo,
    MachineChanged,
    MachineHealth,
    MemoryInfo,
    State,
)
from .errors import (
    BigmachineError,
    BootError,
    MachineStopped,
    RemoteError,
    RpcError,
    StopReason,
    TransportError,
)
from .rpc import Connection, ConnectionLost, IncomingStream, PostConnection, dial
from .system import Capability

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("bigmachine.machine")

T = TypeVar("T")

_REPLY_TIMES = 64  # kept for whoever watches
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 5.0  # between retries
_STOP_TIMEOUT = 120.0  # for a provider to confirm that an instance is gone
_TAIL_TIMEOUT = 2.0  # for a machine's last words to arrive


class AsyncMachine:
    """A machine of a session, owned by it or only dialled.

    Made by `AsyncSession.start` and `AsyncSession.connect`. A call made before the
    machine is ``RUNNING`` waits for it; on one that is ``STOPPED`` it raises
    `MachineStopped` at once, and so do the calls in flight when it stops.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        plugins: Plugins,
        http: httpx.AsyncClient,
        services: Mapping[str, bytes] | None,
        boot_log: BootLog,
    ) -> None:
        self._instance = instance
        self._plugins = plugins
        self._http = http
        self._keepalive: Keepalive = plugins.hooks.keepalive()
        self._maxprocs: int | None = plugins.hooks.maxprocs()
        self._services = services
        self._boot_log = boot_log
        self._output = Output(self.name, boot_log)
        self._state = State.UNSTARTED
        self._error: BaseException | None = None
        # The live connection, and the same for callers: they get it once it is RUNNING.
        self._link: Connection | PostConnection | None = None
        self._connection: Connection | PostConnection | None = None
        # While a connection is lost and it is not known why, callers wait for the verdict.
        self._is_judging = False
        self._changed = trio.Event()
        self._freed = trio.Event()
        self._life = trio.CancelScope()
        self._reply_times: deque[float] = deque(maxlen=_REPLY_TIMES)
        self._last_reply = 0.0
        self._is_healthy = True

    def __repr__(self) -> str:
        return f"<Machine {self.name} {self.state.name} at {self._instance.address}>"

    # -- what it is -----------------------------------------------------------

    @property
    def name(self) -> str:
        """Its short name, unique in the session: what its output is marked with."""
        return self._instance.name.partition(".")[0]

    @property
    def addr(self) -> str:
        """Its address, for `AsyncSession.connect` on another machine of the session."""
        return self._instance.addr

    @property
    def instance(self) -> Instance:
        """What its provider says of it."""
        return self._instance

    @property
    def owned(self) -> bool:
        """Whether this session started it, keeps it alive and ends it."""
        return self._services is not None

    @property
    def maxprocs(self) -> int:
        """How many processors it has; known once it is ``RUNNING`` at the latest."""
        return self._maxprocs or 1

    @property
    def state(self) -> State:
        """Where it is in its life."""
        return self._state

    @property
    def error(self) -> BaseException | None:
        """Why it stopped; None while it has not."""
        return self._error

    @property
    def keepalive_reply_times(self) -> list[float]:
        """How long its last keepalives took, in seconds, the newest first."""
        return [*reversed(self._reply_times)]

    async def wait(self, state: State = State.RUNNING) -> None:
        """Wait until it has reached ``state``, or a later one."""
        while self._state < state:
            await self._changed.wait()
        await trio.lowlevel.checkpoint()

    # -- calls ----------------------------------------------------------------

    async def call(self, method: str, /, *args: Any, retry: bool = False, **kwargs: Any) -> Any:
        """Call ``"Service.method"`` on the machine; return what the method returns.

        Iterators and files among the arguments are streamed up. With ``retry``, an
        error that is ``temporary`` is met by calling again, with growing pauses,
        for as long as the machine lives; the method may then run more than once.
        Cancelling the call cancels the method.

        Raises the method's own exception with a `RemoteError` as its cause,
        `MachineStopped`, `TransportError` or `UsageError`.
        """
        pauses = _pauses() if retry else None
        while True:
            try:
                connection = self._connection or await self._connected()
                return await connection.call(method, args, kwargs)
            except ConnectionLost as exc:
                error: Exception = await self._explain(exc)
            except Exception as exc:
                error = exc
            if pauses is None or not getattr(error, "temporary", False):
                raise error
            pause = next(pauses)
            logger.debug("%s: %s: %s; again in %.2f s", self.name, method, error, pause)
            await trio.sleep(pause)

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> AsyncStream:
        """Call a generator method; iterate over what it yields with ``async for``.

        The machine is at most 4 MiB ahead of you. Closing the stream, or leaving an
        ``async with`` around it, ends the generator there.
        """
        return AsyncStream(self, method, args, kwargs)

    def service(self, interface: type[T], name: str) -> T:
        """Return a typed stub: its methods call those of the service called ``name``.

        ``interface`` is the service's class, or any class or Protocol with the
        methods' signatures. Each call is to be awaited, so type checkers are
        content with one whose methods are ``async def``; generators become async
        iterators.
        """
        return make_stub(interface, name, call=self.call, stream=self.stream)

    async def memory(self) -> MemoryInfo:
        """Read its memory."""
        return cast(MemoryInfo, await self.call("Supervisor.memory"))

    async def disk(self) -> DiskInfo:
        """Read the room on its disk."""
        return cast(DiskInfo, await self.call("Supervisor.disk"))

    async def load(self) -> LoadInfo:
        """Read its load averages."""
        return cast(LoadInfo, await self.call("Supervisor.load"))

    async def read(self, path: str) -> bytes:
        """Read a file of its host; `NotSupportedError` where the system can't."""
        chunks = self._plugins.hooks.read(instance=self._instance, path=path)
        return b"".join([chunk async for chunk in chunks])

    # -- its end --------------------------------------------------------------

    def cancel(self) -> None:
        """Stop it at once: what is pending ends in `MachineStopped`.

        Returns before it is freed; `shutdown` waits for that.
        """
        self._stop(StopReason.CANCELLED, "it was cancelled")

    async def shutdown(self) -> None:
        """Free it, and return when its provider has confirmed that it is gone.

        A machine that is only dialled is let go of, and lives on.
        """
        if self.owned and self._link is not None:
            # Asked politely, it flushes its output first.
            polite = trio.move_on_after(self._keepalive.rpc_timeout)
            with polite, contextlib.suppress(BigmachineError):
                await self._link.call("Supervisor.shutdown", (), {})
        self._stop(StopReason.SHUTDOWN, "it was shut down")
        await self._freed.wait()

    # -- its life -------------------------------------------------------------

    async def run(self) -> None:
        """Live: connect, install the services, keep alive; return when stopped and freed.

        The session runs this in its nursery, once. Nothing but cancellation leaves it.
        """
        async with trio.open_nursery() as nursery:
            tail = trio.CancelScope(shield=True)
            tailed = trio.Event()
            nursery.start_soon(self._tail, tail, tailed)
            try:
                if self._state == State.UNSTARTED:
                    self._set_state(State.STARTING)
                with self._life:
                    await self._live()
            except Exception as exc:
                # A fault of ours, or of a plugin; it must not take the other machines along.
                logger.exception("%s: its life ended in an error", self.name)
                self._stop(StopReason.EXITED, f"an internal error: {exc!r}", cause=exc)
            finally:
                self._stop(StopReason.SHUTDOWN, "its session ended")
                if self.owned:
                    await self._free()
                with trio.move_on_after(_TAIL_TIMEOUT, shield=True):
                    await tailed.wait()
                tail.cancel()
                self._freed.set()

    async def _live(self) -> None:
        async with trio.open_nursery() as nursery:
            try:
                await self._boot(nursery)
            except BootError as exc:
                self._boot_log.failed()
                self._stop(StopReason.BOOT, "it did not boot", cause=exc)
            else:
                self._boot_log.succeeded()
                self._connection = self._link
                self._set_state(State.RUNNING)
                await self._stay_connected(nursery)

    async def _boot(self, nursery: trio.Nursery) -> None:
        phase = "connect"
        timeout = self._plugins.system.boot_timeout if self.owned else self._keepalive.timeout
        self._last_reply = trio.current_time()
        try:
            with trio.fail_after(timeout):
                connection = await self._first_connection(nursery)
                self._output.is_booting = False
                # From here on it is kept alive: its services may take long to set up.
                nursery.start_soon(self._keep_alive)
                phase = "services"
                info: Info = await connection.call("Supervisor.info", (), {})
                self._maxprocs = self._maxprocs or info.maxprocs
                for name, pickled in (self._services or {}).items():
                    phase = f"service {name!r}"
                    await connection.call("Supervisor.register", (name, pickled), {})
        except ConnectionLost as exc:
            gone = await self._ask_why()
            raise self._boot_error(phase, gone.detail if gone else str(exc), exc) from exc
        except trio.TooSlowError as exc:
            raise self._boot_error(phase, f"not done after {timeout:.0f} s", exc) from exc
        except Exception as exc:
            raise self._boot_error(phase, _story(exc), exc) from exc

    def _boot_error(self, phase: str, story: str, cause: BaseException) -> BootError:
        return BootError(
            f"{self.name} did not boot; it failed in phase {phase}: {story}",
            machine=self.name,
            phase=phase,
            console=self._output.console,
        )

    async def _first_connection(self, nursery: trio.Nursery) -> Connection | PostConnection:
        pauses = _pauses()
        while True:
            try:
                return await nursery.start(self._serve_connection)  # type: ignore[no-any-return]
            except (ConnectionRefusedError, TransportError) as exc:
                if not self.owned:  # it was said to run, so there is nothing to wait for
                    raise TransportError(str(exc), addr=self.addr) from exc
                if (gone := await self._ask_why()) is not None:
                    raise BigmachineError(gone.detail) from None
            await trio.sleep(next(pauses))

    async def _serve_connection(
        self, *, task_status: trio.TaskStatus[Connection | PostConnection]
    ) -> None:
        """Dial, and serve the connection until it is lost."""
        async with dial(self._http, self.addr) as connection:
            self._link = connection
            if self._state == State.RUNNING:
                self._connection = connection
            self._notify()
            try:
                task_status.started(connection)
                await connection.run()
            finally:
                self._link = self._connection = None
                self._is_judging = True
                self._notify()

    async def _stay_connected(self, nursery: trio.Nursery) -> None:
        """Find out why the connection was lost, each time; dial again if the machine lives."""
        while True:
            while self._link is not None:
                await self._changed.wait()
            gone = await self._ask_why()
            if gone is not None:
                self._stop(gone.reason, gone.detail)
            for pause in _pauses():
                try:
                    with trio.fail_after(self._keepalive.rpc_timeout):
                        await nursery.start(self._serve_connection)
                    break
                except ConnectionRefusedError:
                    self._stop(StopReason.EXITED, "nothing listens at its address any more")
                except (RpcError, trio.TooSlowError) as exc:
                    # Perhaps the network; how long it may last is the keepalive's to say.
                    logger.debug("%s: can't be reached: %s", self.name, exc)
                finally:
                    self._is_judging = False
                    self._notify()
                await trio.sleep(pause)

    async def _keep_alive(self) -> None:
        keepalive = self._keepalive
        pauses = _pauses()
        while True:
            began = trio.current_time()
            reply = await self._ask_alive()
            now = trio.current_time()
            if reply is not None:
                self._last_reply = now
                self._reply_times.append(now - began)
                self._set_health(reply.healthy)
                pauses = _pauses()
                await trio.sleep(keepalive.period)
                continue
            silence = now - self._last_reply
            if (gone := await self._ask_why()) is not None:
                self._stop(gone.reason, gone.detail)
            elif silence >= keepalive.timeout:
                self._stop(
                    StopReason.KEEPALIVE,
                    f"it was silent for {silence:.0f} s (keepalive timeout "
                    f"{keepalive.timeout:g} s, rpc timeout {keepalive.rpc_timeout:g} s)",
                )
            # Neither later than the timeout, nor so often that it costs.
            await trio.sleep(min(next(pauses), max(keepalive.timeout - silence, _FIRST_PAUSE)))

    async def _ask_alive(self) -> KeepaliveReply | None:
        """Ask for a sign of life; None if none comes in time."""
        connection = self._link
        if connection is None:
            return None
        with trio.move_on_after(self._keepalive.rpc_timeout):
            try:
                if self.owned:
                    timeout = (self._keepalive.timeout,)
                    return cast(
                        KeepaliveReply, await connection.call("Supervisor.keepalive", timeout, {})
                    )
                await connection.call("Supervisor.ping", (), {})
                return KeepaliveReply(next=self._keepalive.period, healthy=True)
            except BigmachineError as exc:
                logger.debug("%s: keepalive: %s", self.name, exc)
        return None

    async def _ask_why(self) -> Gone | None:
        """Ask the system why the machine is gone, if it is."""
        if not self.owned:
            return None
        with trio.move_on_after(self._keepalive.rpc_timeout):
            try:
                return await self._plugins.hooks.keepalive_failed(instance=self._instance)
            except Exception:
                logger.exception("%s: the keepalive_failed hook raised", self.name)
        return None

    async def _free(self) -> None:
        with trio.move_on_after(_STOP_TIMEOUT, shield=True) as scope:
            try:
                await self._plugins.hooks.stop(instance=self._instance)
            except Exception:
                logger.exception("%s: it could not be freed", self.name)
        if scope.cancelled_caught:
            logger.error("%s: not confirmed to be gone after %g s", self.name, _STOP_TIMEOUT)

    async def _tail(self, scope: trio.CancelScope, done: trio.Event) -> None:
        with scope:
            if self.owned and Capability.TAIL in self._plugins.system.capabilities:
                try:
                    async for line in self._plugins.hooks.tail(instance=self._instance):
                        self._output.line(line)
                except Exception:
                    logger.exception("%s: its output can't be followed", self.name)
            done.set()

    # -- transitions ----------------------------------------------------------

    def _stop(self, reason: StopReason, detail: str, *, cause: BaseException | None = None) -> None:
        """Be ``STOPPED`` from now on, for the first reason given."""
        if self._state == State.STOPPED:
            return
        if isinstance(cause, BootError):
            self._error = cause
        else:
            self._error = MachineStopped(
                f"{self.name} stopped: {detail}", machine=self.name, reason=reason
            )
            self._error.__cause__ = cause
        self._link = self._connection = None
        self._is_judging = False
        self._set_state(State.STOPPED)
        self._life.cancel()

    def _set_state(self, state: State) -> None:
        self._state = state
        self._notify()
        self._plugins.notify(MachineChanged(self.name, self.addr, state, self._error))

    def _set_health(self, is_healthy: bool) -> None:
        if is_healthy != self._is_healthy:
            self._is_healthy = is_healthy
            if not is_healthy:
                logger.warning(
                    "%s: it has used 95 %% of its memory and may soon be killed", self.name
                )
            self._plugins.notify(MachineHealth(self.name, is_healthy))

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _connected(self) -> Connection | PostConnection:
        """Wait for a connection; raise if the machine is stopped."""
        while self._connection is None:
            if self._state == State.STOPPED:
                raise self.stopped()
            await self._changed.wait()
        return self._connection

    async def _explain(self, lost: ConnectionLost) -> BigmachineError:
        """Wait until it is known why the connection was lost; return what to raise."""
        while self._is_judging and self._state != State.STOPPED:
            await self._changed.wait()
        if self._state == State.STOPPED:
            return self.stopped(lost.method)
        return TransportError(str(lost), addr=lost.addr, method=lost.method)

    def stopped(self, method: str = "") -> MachineStopped:
        """Return a new error for one caller; the machine's own is shared."""
        error = self._error
        reason = error.reason if isinstance(error, MachineStopped) else StopReason.BOOT
        first_line = str(error).partition("\n")[0]
        text = f"{method} was cut off: {first_line}" if method else first_line
        stopped = MachineStopped(text, machine=self.name, reason=reason)
        stopped.__cause__ = error.__cause__ if isinstance(error, MachineStopped) else error
        return stopped


class AsyncStream:
    """The items of a generator method: an async iterator and an async context manager."""

    def __init__(
        self,
        machine: AsyncMachine,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._machine = machine
        self._call = (method, args, kwargs)
        self._incoming: IncomingStream | None = None
        self._is_closed = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return (await self.take(1))[0]

    async def take(self, most: int | None = None) -> list[Any]:
        """Wait for an item; return it and up to ``most`` of those that are here.

        Raises `StopAsyncIteration` at the end.
        """
        if self._is_closed:
            raise StopAsyncIteration
        try:
            if self._incoming is None:
                self._incoming = await self._open()
            return await self._incoming.take(most)
        except ConnectionLost as exc:
            error = await self._machine._explain(exc)
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
        # Dropped half-way, and perhaps in another thread: the generator must end too.
        if not self._is_closed and self._incoming is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._incoming.close)

    async def _open(self) -> IncomingStream:
        self._token = trio.lowlevel.current_trio_token()
        connection = self._machine._connection or await self._machine._connected()
        return await connection.stream(*self._call)


def _pauses() -> Iterator[float]:
    """Yield growing pauses with jitter, in seconds, without end."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _story(exc: BaseException) -> str:
    """Tell an error with the machine's own traceback, where there is one."""
    remote = exc.__cause__
    return str(remote) if isinstance(remote, RemoteError) else f"{type(exc).__name__}: {exc}"
