"""A machine's life as its session leads it: boot, stay connected, keep alive, stop, free."""

from __future__ import annotations

import contextlib
import logging
import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

import trio

from ._output import BootLog, Output
from ._plugins import Plugins
from ._values import (
    Gone,
    Info,
    Instance,
    Keepalive,
    KeepaliveReply,
    MachineChanged,
    MachineHealth,
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
from .rpc import Connection, ConnectionLost, PostConnection, dial
from .system import Capability

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("bigmachine.machine")

_REPLY_TIMES = 64  # kept for whoever watches
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 5.0  # between retries
_STOP_TIMEOUT = 120.0  # for a provider to confirm that an instance is gone
_TAIL_TIMEOUT = 2.0  # for a machine's last words to arrive


class Life:
    """The life of one machine; `run` leads it, in a task of the session's.

    ``services`` are those to install, pickled; None for a machine that somebody
    else owns, which is only watched. ``connection`` is there for callers while the
    machine is ``RUNNING`` and connected.
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
        self.instance = instance
        self.owned = services is not None
        self.name = instance.name.partition(".")[0]
        self.addr = instance.addr
        self.maxprocs: int | None = plugins.hooks.maxprocs()
        self.state = State.UNSTARTED
        self.error: BaseException | None = None
        self.connection: Connection | PostConnection | None = None
        self.reply_times: deque[float] = deque(maxlen=_REPLY_TIMES)
        self.plugins = plugins
        self._http = http
        self._keepalive: Keepalive = plugins.hooks.keepalive()
        self._services = services or {}
        self._boot_log = boot_log
        self._output = Output(self.name, boot_log)
        # The live connection, from before the callers get it.
        self._link: Connection | PostConnection | None = None
        # While a connection is lost and it is not known why, callers wait for the verdict.
        self._is_judging = False
        self._is_healthy = True
        self._last_reply = 0.0
        self._changed = trio.Event()
        self._freed = trio.Event()
        self._scope = trio.CancelScope()

    async def wait(self, state: State) -> None:
        """Wait until ``state``, or a later one, is reached."""
        while self.state < state:
            await self._changed.wait()
        await trio.lowlevel.checkpoint()

    async def connected(self) -> Connection | PostConnection:
        """Wait for the connection; raise if the machine is stopped."""
        while self.connection is None:
            if self.state == State.STOPPED:
                raise self.stopped()
            await self._changed.wait()
        return self.connection

    async def explain(self, lost: ConnectionLost) -> BigmachineError:
        """Wait until it is known why the connection was lost; return what to raise."""
        while self.state != State.STOPPED and (
            self._is_judging or (self._link is not None and not self._link.is_open)
        ):
            await self._changed.wait()
        if self.state == State.STOPPED:
            return self.stopped(lost.method)
        return TransportError(str(lost), addr=lost.addr, method=lost.method)

    def stopped(self, method: str = "") -> MachineStopped:
        """Return a new error for one caller; the machine's own is shared."""
        error = self.error
        reason = error.reason if isinstance(error, MachineStopped) else StopReason.BOOT
        first_line = str(error).partition("\n")[0]
        text = f"{method} was cut off: {first_line}" if method else first_line
        stopped = MachineStopped(text, machine=self.name, reason=reason)
        stopped.__cause__ = error.__cause__ if isinstance(error, MachineStopped) else error
        return stopped

    async def shutdown(self) -> None:
        """Stop, after asking the machine to end by itself; return when it is freed."""
        if self.owned and self._link is not None:
            # Asked politely, it flushes its output first.
            polite = trio.move_on_after(self._keepalive.rpc_timeout)
            with polite, contextlib.suppress(BigmachineError):
                await self._link.call("Supervisor.shutdown", (), {})
        self.stop(StopReason.SHUTDOWN, "it was shut down")
        await self._freed.wait()

    def stop(self, reason: StopReason, detail: str, *, cause: BaseException | None = None) -> None:
        """Be ``STOPPED`` from now on, for the first reason given; `run` then frees it."""
        if self.state == State.STOPPED:
            return
        if isinstance(cause, BootError):
            self.error = cause
        else:
            self.error = MachineStopped(
                f"{self.name} stopped: {detail}", machine=self.name, reason=reason
            )
            self.error.__cause__ = cause
        self._link = self.connection = None
        self._is_judging = False
        self._set_state(State.STOPPED)
        self._scope.cancel()

    async def run(self) -> None:
        """Live: connect, install the services, keep alive; return when stopped and freed.

        The session runs this in its nursery, once. Nothing but cancellation leaves it.
        """
        async with trio.open_nursery() as nursery:
            tail = trio.CancelScope(shield=True)
            tailed = trio.Event()
            nursery.start_soon(self._tail, tail, tailed)
            try:
                if self.state == State.UNSTARTED:
                    self._set_state(State.STARTING)
                with self._scope:
                    await self._live()
            except Exception as exc:
                # A fault of ours, or of a plugin; it must not take the other machines along.
                logger.exception("%s: its life ended in an error", self.name)
                self.stop(StopReason.EXITED, f"an internal error: {exc!r}", cause=exc)
            finally:
                self.stop(StopReason.SHUTDOWN, "its session ended")
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
                self.stop(StopReason.BOOT, "it did not boot", cause=exc)
            else:
                self._boot_log.succeeded()
                self.connection = self._link
                self._set_state(State.RUNNING)
                await self._stay_connected(nursery)

    async def _boot(self, nursery: trio.Nursery) -> None:
        phase = "connect"
        timeout = self.plugins.system.boot_timeout if self.owned else self._keepalive.timeout
        self._last_reply = trio.current_time()
        try:
            with trio.fail_after(timeout):
                connection = await self._first_connection(nursery)
            self._output.is_booting = False
            # From here on keepalives bound it, not time: a service may take long to set up.
            nursery.start_soon(self._keep_alive)
            phase = "services"
            if self.maxprocs is None:
                info: Info = await connection.call("Supervisor.info", (), {})
                self.maxprocs = info.maxprocs
            for name, pickled in self._services.items():
                phase = f"service {name!r}"
                await connection.call("Supervisor.register", (name, pickled), {})
        except ConnectionLost as exc:
            gone = await self._ask_why()
            raise self._boot_error(phase, gone.detail if gone else str(exc)) from exc
        except trio.TooSlowError as exc:
            raise self._boot_error(phase, f"not done after {timeout:.0f} s") from exc
        except Exception as exc:
            raise self._boot_error(phase, _story(exc)) from exc

    def _boot_error(self, phase: str, story: str) -> BootError:
        return BootError(
            f"{self.name} did not boot; it failed in phase {phase}: {story}",
            machine=self.name,
            phase=phase,
            console=self._output.console,
        )

    async def _first_connection(self, nursery: trio.Nursery) -> Connection | PostConnection:
        waits = pauses()
        while True:
            try:
                return await nursery.start(self._serve_connection)  # type: ignore[no-any-return]
            except (ConnectionRefusedError, TransportError) as exc:
                if not self.owned:  # it was said to run, so there is nothing to wait for
                    raise TransportError(str(exc), addr=self.addr) from exc
                if (gone := await self._ask_why()) is not None:
                    raise BigmachineError(gone.detail) from None
            await trio.sleep(next(waits))

    async def _serve_connection(
        self, *, task_status: trio.TaskStatus[Connection | PostConnection]
    ) -> None:
        """Dial, and serve the connection until it is lost."""
        async with dial(self._http, self.addr) as connection:
            self._link = connection
            if self.state == State.RUNNING:
                self.connection = connection
            self._notify()
            try:
                task_status.started(connection)
                await connection.run()
            finally:
                self._link = self.connection = None
                self._is_judging = True
                self._notify()

    async def _stay_connected(self, nursery: trio.Nursery) -> None:
        """Find out why the connection was lost, each time; dial again if the machine lives."""
        while True:
            while self._link is not None:
                await self._changed.wait()
            gone = await self._ask_why()
            if gone is not None:
                self.stop(gone.reason, gone.detail)
            for pause in pauses():
                try:
                    with trio.fail_after(self._keepalive.rpc_timeout):
                        await nursery.start(self._serve_connection)
                    break
                except ConnectionRefusedError:
                    self.stop(StopReason.EXITED, "nothing listens at its address any more")
                except (RpcError, trio.TooSlowError) as exc:
                    # Perhaps the network; how long it may last is the keepalive's to say.
                    logger.debug("%s: can't be reached: %s", self.name, exc)
                finally:
                    self._is_judging = False
                    self._notify()
                await trio.sleep(pause)

    async def _keep_alive(self) -> None:
        keepalive = self._keepalive
        waits = pauses()
        # The machine's own clock runs from its start, so the first one is not urgent.
        await trio.sleep(keepalive.period)
        while True:
            began = trio.current_time()
            reply = await self._ask_alive()
            now = trio.current_time()
            if reply is not None:
                self._last_reply = now
                self.reply_times.append(now - began)
                self._set_health(reply.healthy)
                waits = pauses()
                await trio.sleep(keepalive.period)
                continue
            silence = now - self._last_reply
            if (gone := await self._ask_why()) is not None:
                self.stop(gone.reason, gone.detail)
            elif silence >= keepalive.timeout:
                self.stop(
                    StopReason.KEEPALIVE,
                    f"it was silent for {silence:.0f} s (keepalive timeout "
                    f"{keepalive.timeout:g} s, rpc timeout {keepalive.rpc_timeout:g} s)",
                )
            # Neither later than the timeout, nor so often that it costs.
            await trio.sleep(min(next(waits), max(keepalive.timeout - silence, _FIRST_PAUSE)))

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
                return await self.plugins.hooks.keepalive_failed(instance=self.instance)
            except Exception:
                logger.exception("%s: the keepalive_failed hook raised", self.name)
        return None

    async def _free(self) -> None:
        with trio.move_on_after(_STOP_TIMEOUT, shield=True) as scope:
            try:
                await self.plugins.hooks.stop(instance=self.instance)
            except Exception:
                logger.exception("%s: it could not be freed", self.name)
        if scope.cancelled_caught:
            logger.error("%s: not confirmed to be gone after %g s", self.name, _STOP_TIMEOUT)

    async def _tail(self, scope: trio.CancelScope, done: trio.Event) -> None:
        with scope:
            if self.owned and Capability.TAIL in self.plugins.system.capabilities:
                try:
                    async for line in self.plugins.hooks.tail(instance=self.instance):
                        self._output.line(line)
                except Exception:
                    logger.exception("%s: its output can't be followed", self.name)
            done.set()

    def _set_state(self, state: State) -> None:
        self.state = state
        self._notify()
        self.plugins.notify(MachineChanged(self.name, self.addr, state, self.error))

    def _set_health(self, is_healthy: bool) -> None:
        if is_healthy != self._is_healthy:
            self._is_healthy = is_healthy
            if not is_healthy:
                logger.warning(
                    "%s: it has used 95 %% of its memory and may soon be killed", self.name
                )
            self.plugins.notify(MachineHealth(self.name, is_healthy))

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def pauses() -> Iterator[float]:
    """Yield growing pauses with jitter, in seconds, without end."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _story(exc: BaseException) -> str:
    """Tell an error with the machine's own traceback, where there is one."""
    remote = exc.__cause__
    return str(remote) if isinstance(remote, RemoteError) else f"{type(exc).__name__}: {exc}"
