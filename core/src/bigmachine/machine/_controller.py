"""What a session does with one machine: start it, keep it alive, stop it, free it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import trio

from .._full_names import short_name
from .._repeated_event import RepeatedEvent
from .._values import Instance, Keepalive, KeepaliveReply, State, Termination
from ..boot._bootstrap import BootBatch, Bootstrap
from ..errors import BigmachineError, BootError, StopReason, TransportError, UsageError
from ..logs._kept import SessionLogs
from ..process import FORKED
from ..rpc import Connection, ConnectionLost, LaneLost
from ..system import Capability, gives_notices
from ..system._plugins import Plugins
from ._ending import Ending
from ._keepalive import KeepaliveMonitor
from ._lifecycle import Lifecycle
from ._link import REFUSED, Link, follow
from ._log import MachineLog
from ._output import BootOutput, Output
from ._startup import Startup, progress_reporter
from ._submitted import Submitted
from ._time_limits import Debugger, TimeLimits
from .output._stderr import StderrWriter
from .supervisor._activity import ActivityMonitor
from .supervisor._client import supervisor
from .supervisor._log_levels import LogLevels
from .supervisor._memory_report import MemoryReports
from .supervisor._notices import ReceivedNotices
from .supervisor._service_batch import ServiceBatch
from .supervisor._spans import ReceivedSpans

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("bigmachine.machine")

# After these, the machine may still run and be reached.
_ORDERLY = {
    StopReason.SHUTDOWN,
    StopReason.CANCELLED,
    StopReason.COST,
    StopReason.IDLE,
    StopReason.BOOT,
}


class Controller:
    """Leads one machine through its lifecycle; the session calls `run` in a task of its own.

    ``services`` are those to install; None for a machine that another session owns,
    which is only watched. ``interfaces`` are theirs, as of `interface_of`. ``set_silent`` is told
    when the machine falls silent, and when it is heard again. ``boot`` is what a machine that
    begins with the boot program is sent. ``debugger`` is what its driver debugs it with.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        plugins: Plugins,
        http: httpx.AsyncClient,
        services: ServiceBatch | None,
        interfaces: Mapping[str, object] | None = None,
        boot_output: BootOutput,
        stderr: StderrWriter,
        logs: SessionLogs,
        set_silent: Callable[[Instance, bool], None],
        boot: BootBatch | None = None,
        debugger: Debugger | None = None,
    ) -> None:
        self.instance = instance
        self.interfaces = interfaces
        self.owned = services is not None
        self.name = name = short_name(instance.name)
        self.addr = instance.addr
        self.maxprocs: int | None = plugins.hooks.maxprocs()
        self.plugins = plugins
        self.submitted = Submitted()
        self.time_limits = debugger.time_limits if debugger is not None else TimeLimits()
        self.time_limits.begin()
        self._debugger = debugger
        self._can_be_asked = False  # to end
        self._timings: Keepalive = plugins.hooks.keepalive()
        self._changed = RepeatedEvent()  # the state, or the connection
        self._freed = trio.Event()
        self._pid = os.getpid()
        self._scope = trio.CancelScope()
        self._boot_output = boot_output
        self.logs = logs
        self.kept = logs.new(name, is_owned=self.owned)
        """The last of what it has printed and logged."""
        self._output = Output(name, boot_output=boot_output, stderr=stderr, log=self.kept)
        # A system that follows what machines print knows all that is in their logs.
        has_tail = Capability.TAIL in plugins.system.capabilities
        self._log = MachineLog(
            self._output.lines if not has_tail else lambda lines: None,
            wait_for_room=self._output.catch_up,
        )
        self.notices = ReceivedNotices(name, notify=plugins.notify)
        self._spans = ReceivedSpans(name, take=plugins.take_spans)
        self._is_traced = self.owned and plugins.takes_spans
        self.lifecycle = Lifecycle(
            name, addr=self.addr, changed=self._changed, notify=plugins.notify
        )
        self._bootstrap = self._new_bootstrap(boot, http=http) if boot is not None else None
        self._follows_log = self._bootstrap is not None and not has_tail
        self._link = Link(
            name,
            addr=self.addr,
            http=http,
            owned=self.owned,
            timings=self._timings,
            diagnose=self._diagnose,
            probe_boot_program=self._probe_boot_program,
            changed=self._changed,
        )
        self._startup = Startup(
            name,
            addr=self.addr,
            link=self._link,
            bootstrap=self._bootstrap,
            services=services,
            timeout=plugins.system.boot_timeout if self.owned else self._timings.timeout,
            log=self._log,
            console=functools.partial(
                self._output.console, plugins, instance, within=self._timings.rpc_timeout
            ),
        )
        self.keepalive = KeepaliveMonitor(
            name,
            link=self._link,
            timings=self._timings,
            diagnose=self._diagnose,
            is_busy=lambda: self.owned and plugins.system.is_busy(instance),
            explain=self.notices.explain,
            stop=self.stop,
            notify=plugins.notify,
            set_silent=lambda is_silent: set_silent(instance, is_silent and self.owned),
            after_reply=self._after_reply,
        )
        self._log_levels = LogLevels()
        self._memory = MemoryReports(
            instance.name,
            log=self.kept,
            connection=lambda: self._link.connection,
            ask_now=self.keepalive.ask_now,
        )
        self.activity = ActivityMonitor(
            connection=lambda: self.connection, timeout=self._timings.rpc_timeout
        )
        self.ending = Ending(
            instance,
            http=http,
            plugins=plugins,
            timings=self._timings,
            teardowns=lambda: self._startup.teardowns,
            log=self._log if self._follows_log else None,
        )

    @property
    def connection(self) -> Connection | None:
        """What callers use, while the machine is ``RUNNING`` and connected.

        `UsageError` in a forked child, where the machine is not its own.
        """
        if os.getpid() != self._pid:
            raise UsageError(FORKED)
        return self._link.connection if self.lifecycle.state is State.RUNNING else None

    async def connected(self) -> Connection:
        """Wait for the connection; raise if the machine is stopped."""
        while (connection := self.connection) is None:
            if self.lifecycle.state == State.STOPPED:
                raise self.lifecycle.stopped_error()
            await self._changed.wait()
        return connection

    async def explain(self, lost: ConnectionLost) -> BigmachineError:
        """Wait until it is known why the connection was lost; return what to raise."""
        if isinstance(lost, LaneLost) and (connection := self._link.connection) is not None:
            with contextlib.suppress(BigmachineError):
                # The connection may be lost, too, which shows when something is sent.
                await supervisor(connection).ping()
        while self.lifecycle.state != State.STOPPED and self._link.is_in_doubt:
            await self._changed.wait()
        if self.lifecycle.state == State.STOPPED:
            return self.lifecycle.stopped_error(lost.method)
        return TransportError(str(lost), addr=lost.addr, method=lost.method)

    async def shutdown(self) -> None:
        """Stop, after asking the machine to end by itself; return when it is freed."""
        if os.getpid() != self._pid:
            raise UsageError(FORKED)
        connection = self._link.connection
        if self.owned and self.lifecycle.state != State.STOPPED and connection is not None:
            await self._log.catch_up(connection)
            if self._is_traced:
                await self._spans.catch_up(connection)
            if not self._startup.teardowns:  # else calls in flight would wait for those
                await self.ending.ask(connection)
        self.stop(Termination(StopReason.SHUTDOWN, "it was shut down"))
        await self._freed.wait()

    def stop(self, gone: Termination, *, cause: BaseException | None = None) -> None:
        """Be ``STOPPED`` from now on, for the first reason given; `run` then frees it."""
        if self.lifecycle.state != State.STOPPED:
            connection = self._link.connection
            self._can_be_asked = gone.reason in _ORDERLY and connection is not None
        output = ""
        if gone.reason not in _ORDERLY:
            self._log.finish()  # its last line may have had no end
            output = self._output.last_text()
        self.lifecycle.stop(gone, cause=cause, output=output)
        self._scope.cancel()

    async def run(self) -> None:
        """Start the machine and keep it alive; return when it is stopped and freed.

        Called once. Nothing but cancellation leaves it.
        """
        try:
            async with self._output.following(self.plugins, self.instance, owned=self.owned):
                try:
                    self.lifecycle.begin()
                    with self._scope:
                        await self._start_and_keep()
                except Exception as exc:
                    # A fault of ours, or of a plugin; it must not take the other machines along.
                    logger.exception("%s: it is stopped after an internal error", self.name)
                    gone = Termination(StopReason.EXITED, f"an internal error: {exc!r}")
                    self.stop(gone, cause=exc)
                finally:
                    self.stop(Termination(StopReason.SHUTDOWN, "its session ended"))
                    self._startup.drop_services()
                    self._log.finish()
                    if self.owned and os.getpid() == self._pid:  # not in a forked child
                        with trio.CancelScope(shield=True):
                            if self._can_be_asked:
                                await self.ending.ask_anew()
                                self._log.finish()
                            await self.ending.free()
        finally:
            self.kept.end(self.lifecycle.fault)
            self._freed.set()

    async def _start_and_keep(self) -> None:
        async with trio.open_nursery() as nursery:
            try:
                await self._start(nursery)
            except BootError as exc:
                if self.owned:
                    self._boot_output.failed()
                self.stop(Termination(StopReason.BOOT, "it did not boot"), cause=exc)
            else:
                self._boot_output.succeeded()
                self.lifecycle.booted()
                gone = await self._link.keep(nursery)
                if gone is REFUSED:
                    gone = self.notices.explain(gone)
                else:  # it is known to have ended, so its last lines are near
                    await self._output.await_end()
                self.stop(self._memory.explain(gone))

    async def _start(self, nursery: trio.Nursery) -> None:
        """Do all that comes before ``RUNNING``; leave in ``nursery`` what goes on after it."""
        began = await self._startup.connect(nursery)
        self._output.is_booting = False
        if self._follows_log:
            nursery.start_soon(self._log.follow, self._linked)
        if self.owned and gives_notices(self.plugins.system):
            nursery.start_soon(follow, self._linked, self.notices.ask, "notices")
        if self.owned:
            nursery.start_soon(follow, self._linked, self._memory.await_shortage, "memory")
        if self._is_traced:
            nursery.start_soon(follow, self._linked, self._spans.ask, "traces")
        if self.owned and self._debugger is not None:
            nursery.start_soon(self._debugger.follow, self.name, self.addr, self._linked)
        nursery.start_soon(self.keepalive.run, nursery, began)
        self.maxprocs = await self._startup.install(nursery, maxprocs=self.maxprocs)

    def _new_bootstrap(self, boot: BootBatch, *, http: httpx.AsyncClient) -> Bootstrap:
        system, hooks = self.plugins.system, self.plugins.hooks
        console = functools.partial(hooks.console, instance=self.instance)
        return Bootstrap(
            self.instance,
            batch=boot,
            http=http,
            timings=self._timings,
            boot_timeout=system.boot_timeout,
            build_timeout=system.build_timeout,
            diagnose=self._diagnose,
            on_progress=progress_reporter(self.name, notify=self.plugins.notify),
            log=self._log,
            console=console if system.verifies_boot else None,
        )

    async def _after_reply(self, reply: KeepaliveReply) -> None:
        self.submitted.keepalive_replied()
        if self.owned:
            await self._log_levels.update(self._link.connection)
            if not reply.healthy:
                await self._memory.take()

    async def _linked(self) -> Connection:
        """Wait for a connection that is not known to be lost, whatever the state."""
        while (connection := self._link.connection) is None or not connection.is_open:
            await self._changed.wait()
        return connection

    async def _diagnose(self) -> Termination | None:
        """Ask the system why the machine is gone, if it is."""
        if not self.owned:
            return None
        with trio.move_on_after(self._timings.rpc_timeout):
            try:
                gone = await self.plugins.hooks.keepalive_failed(instance=self.instance)
                if gone is None or gone.reason is not StopReason.GONE:
                    return gone
                # It may know no more than that: Azure deletes a spot VM that it evicts.
                return self.notices.explain(gone)
            except Exception:
                logger.exception("%s: the keepalive_failed hook raised", self.name)
        return None

    async def _probe_boot_program(self) -> Termination | None:
        """Ask the boot program, if it answers in the worker's place, how the worker ended."""
        if self._bootstrap is None or (report := await self._bootstrap.exit_report()) is None:
            return None
        return self.notices.explain(Termination(StopReason.EXITED, report))
