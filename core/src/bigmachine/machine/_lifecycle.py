"""A machine's life as its session leads it: boot, stay connected, keep alive, stop, free."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from .._backoff import FIRST_PAUSE, backoff
from .._events import BootProgress, MachineChanged, MachineHealth, MachineNotice
from .._values import Instance, Keepalive, MachineInfo, Notice, State, Termination
from ..boot._bootstrap import BootBatch, Bootstrap, PhaseFailed
from ..errors import (
    BigmachineError,
    BootError,
    MachineStopped,
    RemoteError,
    StopReason,
    TransportError,
)
from ..rpc import Connection, ConnectionLost
from ..system import Capability, gives_notices
from ..system._plugins import Plugins
from ._link import REFUSED, Link, follow
from ._log import MachineLog
from ._output import BootLog, Output

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("bigmachine.machine")

_REPLY_TIMES = 64  # kept for whoever watches
_POLITE_TIMEOUT = 2.0  # a machine that hangs, or can't be reached, doesn't answer
_STOP_TIMEOUT = 120.0  # for a provider to confirm that an instance is gone


class Lifecycle:
    """The life of one machine; `run` leads it, in a task of the session's.

    ``services`` are those to install, pickled; None for a machine that somebody
    else owns, which is only watched. A machine that comes up by the boot program has
    a share in its start's ``batch``.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        plugins: Plugins,
        http: httpx.AsyncClient,
        services: Mapping[str, bytes] | None,
        boot_log: BootLog,
        batch: BootBatch | None = None,
    ) -> None:
        self.instance = instance
        self.owned = services is not None
        self.name = instance.name.partition(".")[0]
        self.addr = instance.addr
        self.maxprocs: int | None = plugins.hooks.maxprocs()
        self.state = State.UNSTARTED
        self.error: BaseException | None = None
        self.reply_times: deque[float] = deque(maxlen=_REPLY_TIMES)
        self.notices: tuple[Notice, ...] = ()
        self.plugins = plugins
        self._keepalive: Keepalive = plugins.hooks.keepalive()
        self._services = services or {}
        self._boot_log = boot_log
        self._output = Output(self.name, boot_log)
        # A system that follows what machines print knows all that is in their logs.
        self._has_tail = Capability.TAIL in plugins.system.capabilities
        self._log = MachineLog(_ignore if self._has_tail else self._output.lines)
        self._changed = trio.Event()
        self._link = Link(
            self.name,
            addr=self.addr,
            http=http,
            owned=self.owned,
            timings=self._keepalive,
            diagnose=self._diagnose,
            probe_boot_program=self._probe_boot_program,
            on_change=self._notify,
        )
        self._bootstrap = (
            Bootstrap(
                instance,
                batch=batch,
                http=http,
                timings=self._keepalive,
                boot_timeout=plugins.system.boot_timeout,
                build_timeout=plugins.system.build_timeout,
                diagnose=self._diagnose,
                on_progress=self._boot_progress,
                log=self._log,
            )
            if batch is not None
            else None
        )
        self._phase_began = 0.0
        self._is_healthy = True
        self._last_reply = 0.0
        self.is_freed = False  # whether its provider has confirmed that it is gone
        self._freed = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def connection(self) -> Connection | None:
        """What callers use, while the machine is ``RUNNING`` and connected."""
        return self._link.connection if self.state == State.RUNNING else None

    async def wait(self, state: State) -> None:
        """Wait until ``state``, or a later one, is reached."""
        while self.state < state:
            await self._changed.wait()
        await trio.lowlevel.checkpoint()

    async def connected(self) -> Connection:
        """Wait for the connection; raise if the machine is stopped."""
        while (connection := self.connection) is None:
            if self.state == State.STOPPED:
                raise self.stopped()
            await self._changed.wait()
        return connection

    async def explain(self, lost: ConnectionLost) -> BigmachineError:
        """Wait until it is known why the connection was lost; return what to raise."""
        while self.state != State.STOPPED and self._link.is_in_doubt:
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
        connection = self._link.connection
        if self.owned and self.state != State.STOPPED and connection is not None:
            await self._log.catch_up(connection, within=_POLITE_TIMEOUT)
            # Asked politely, it flushes its output first.
            polite = trio.move_on_after(min(_POLITE_TIMEOUT, self._keepalive.rpc_timeout))
            with polite, contextlib.suppress(BigmachineError):
                await connection.call("Supervisor.shutdown", (), {})
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
        self._set_state(State.STOPPED)
        self._scope.cancel()

    async def run(self) -> None:
        """Live: connect, install the services, keep alive; return when stopped and freed.

        The session runs this in its nursery, once. Nothing but cancellation leaves it.
        """
        try:
            async with self._output.following(self.plugins, self.instance, owned=self.owned):
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
                    self._log.finish()
                    if self.owned:
                        await self._free()
        finally:
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
                self._set_state(State.RUNNING)
                gone = await self._link.keep(nursery)
                if gone is REFUSED:
                    gone = self._as_announced(gone)
                self.stop(gone.reason, gone.detail)

    async def _boot(self, nursery: trio.Nursery) -> None:
        phase = "connect"
        timeout = self.plugins.system.boot_timeout if self.owned else self._keepalive.timeout
        began = trio.current_time()
        try:
            if self._bootstrap is not None:
                await self._bootstrap.run()
                began = trio.current_time()
            with trio.fail_after(timeout):
                await self._link.first(nursery)
            self._output.is_booting = False
            if self._bootstrap is not None and not self._has_tail:
                nursery.start_soon(self._log.follow, self._linked)
            if self.owned and gives_notices(self.plugins.system):
                nursery.start_soon(follow, self._linked, self._ask_for_notices, "notices")
            # From here on keepalives bound it, not time: a service may take long to set up.
            self._last_reply = trio.current_time()
            nursery.start_soon(self._keep_alive, nursery, began)
            phase = "services"
            if self.maxprocs is None:
                info: MachineInfo = await self._ask_until_answered(nursery, "Supervisor.info")
                self.maxprocs = info.maxprocs
            for name, pickled in self._services.items():
                phase = f"service {name!r}"
                await self._ask_until_answered(nursery, "Supervisor.register", name, pickled)
        except PhaseFailed as exc:
            assert self._bootstrap is not None
            raise await self._boot_error(self._bootstrap.phase, str(exc)) from None
        except ConnectionLost as exc:
            raise await self._boot_error(phase, str(exc)) from exc
        except trio.TooSlowError as exc:
            raise await self._boot_error(phase, f"not done after {timeout:.0f} s") from exc
        except Exception as exc:
            raise await self._boot_error(phase, _story(exc)) from exc

    async def _ask_until_answered(self, nursery: trio.Nursery, method: str, *args: Any) -> Any:
        """Call a method that may be called again, over a new connection when one is lost.

        Keepalives bound it. Raises `ConnectionLost` with the reason, once the machine is gone.
        """
        for pause in backoff():
            try:
                if (connection := self._link.connection) is not None:
                    return await connection.call(method, args, {})
            except ConnectionLost as exc:
                logger.debug("%s: %s", self.name, exc)
            if (gone := await self._link.renew(nursery)) is not None:
                raise ConnectionLost(gone.detail, addr=self.addr, method=method)
            await trio.sleep(pause)
        raise AssertionError("the backoff has no end")

    def _boot_progress(self, phase: str, done: int, total: int) -> None:
        now = trio.current_time()
        if not total:
            self._phase_began = now
        self.plugins.notify(BootProgress(self.name, phase, done, total, now - self._phase_began))

    async def _boot_error(self, phase: str, story: str) -> BootError:
        if self._bootstrap is not None and phase == "connect":
            story = await self._bootstrap.exit_report() or story
        elif (connection := self._link.connection) is not None:
            await self._log.catch_up(connection, within=_POLITE_TIMEOUT)
        return BootError(
            f"{self.name} did not boot; it failed in phase {phase}: {story}",
            machine=self.name,
            phase=phase,
            console=await self._output.console(
                self.plugins, self.instance, within=self._keepalive.rpc_timeout
            ),
        )

    async def _keep_alive(self, nursery: trio.Nursery, began: float) -> None:
        """Ask the machine for a sign of life, again and again; stop it when none comes."""
        # The machine's own clock runs from its start, be it long before it was reached.
        due = began + self._keepalive.period
        while True:
            await trio.sleep_until(due)
            ask = self._link.ask
            for pause in backoff():
                began = trio.current_time()
                reply = await ask()
                now = trio.current_time()
                if reply is not None:
                    self._last_reply = now
                    self.reply_times.append(now - began)
                    self._set_health(reply.healthy)
                    break
                silence = now - self._last_reply
                self._judge(await self._diagnose(), silence)
                # Neither later than the timeout, nor so often that it costs.
                await trio.sleep(min(pause, max(self._keepalive.timeout - silence, FIRST_PAUSE)))
                # It may be the connection alone that is dead.
                ask = functools.partial(self._link.ask_anew, nursery)
            due = trio.current_time() + self._keepalive.period

    def _judge(self, gone: Termination | None, silence: float) -> None:
        """Stop a machine that is known to be gone, or was silent for too long."""
        timeout, rpc_timeout = self._keepalive.timeout, self._keepalive.rpc_timeout
        if gone is not None:
            self.stop(gone.reason, gone.detail)
        elif silence >= timeout:
            detail = (
                f"it was silent for {silence:.0f} s (keepalive timeout "
                f"{timeout:g} s, rpc timeout {rpc_timeout:g} s)"
            )
            gone = self._as_announced(Termination(StopReason.KEEPALIVE, detail))
            self.stop(gone.reason, gone.detail)

    def _as_announced(self, gone: Termination) -> Termination:
        """Say of a loss that the provider can't explain that it had given notice, if it had."""
        for notice in reversed(self.notices):
            if notice.kind == "interruption":
                detail = f"{gone.detail}, and before that there was notice: {notice}"
                return Termination(StopReason.INTERRUPTED, detail)
        return gone

    async def _ask_for_notices(self, connection: Connection) -> None:
        new: list[Notice] = await connection.call("Supervisor.notices", (len(self.notices),), {})
        for notice in new:
            self.notices += (notice,)
            logger.warning("%s: %s: %s", self.name, notice.kind, notice)
            self.plugins.notify(MachineNotice(self.name, notice.kind, notice.detail, notice.at))

    async def _diagnose(self) -> Termination | None:
        """Ask the system why the machine is gone, if it is."""
        if not self.owned:
            return None
        with trio.move_on_after(self._keepalive.rpc_timeout):
            try:
                return await self.plugins.hooks.keepalive_failed(instance=self.instance)
            except Exception:
                logger.exception("%s: the keepalive_failed hook raised", self.name)
        return None

    async def _probe_boot_program(self) -> Termination | None:
        """Ask who answers, and is not the worker: the boot program, once the worker has ended."""
        if self._bootstrap is None or (ended := await self._bootstrap.exit_report()) is None:
            return None
        return self._as_announced(Termination(StopReason.EXITED, ended))

    async def _linked(self) -> Connection:
        """Wait for a connection that is not known to be lost, whatever the state."""
        while (connection := self._link.connection) is None or not connection.is_open:
            await self._changed.wait()
        return connection

    async def _free(self) -> None:
        with trio.move_on_after(_STOP_TIMEOUT, shield=True) as scope:
            try:
                await self.plugins.hooks.stop(instance=self.instance)
                self.is_freed = True
            except Exception:
                logger.exception("%s: it could not be freed", self.name)
        if scope.cancelled_caught:
            logger.error("%s: not confirmed to be gone after %g s", self.name, _STOP_TIMEOUT)

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


def _ignore(lines: Sequence[bytes]) -> None:
    pass


def _story(exc: BaseException) -> str:
    """Tell an error with the machine's own traceback, where there is one."""
    remote = exc.__cause__
    return str(remote) if isinstance(remote, RemoteError) else f"{type(exc).__name__}: {exc}"
