"""A machine's lifecycle: the state it is in, the ways to the next one, and why it stopped."""

from __future__ import annotations

from collections.abc import Callable

import trio

from .._events import Event, MachineChanged
from .._repeated_event import RepeatedEvent
from .._values import State, Termination
from ..errors import BootError, MachineStopped, StopReason, UsageError

_WANTED = {StopReason.SHUTDOWN, StopReason.CANCELLED}


class Lifecycle:
    """The states of one machine. It does no I/O and runs no task; `Controller` does.

    ::

        UNSTARTED ── begin ──> STARTING ── booted ──> RUNNING
            │                      │                     │
            └─────── stop ─────────┴────── stop ─────────┴──> STOPPED

    A state is never followed by an earlier one, so `begin` and `booted` have no effect on a
    machine that is stopped already. Each new state sets ``changed``, and ``notify`` tells
    observers of it.
    """

    def __init__(
        self, name: str, *, addr: str, changed: RepeatedEvent, notify: Callable[[Event], None]
    ) -> None:
        self.state = State.UNSTARTED
        self.error: BaseException | None = None
        """Why it stopped; None until then."""
        self._name = name
        self._addr = addr
        self._changed = changed
        self._notify = notify

    def begin(self) -> None:
        """Enter ``STARTING``: there is an instance, and it is to come up."""
        self._enter(State.STARTING)

    def booted(self) -> None:
        """Enter ``RUNNING``: all services are installed."""
        self._enter(State.RUNNING)

    def stop(
        self, gone: Termination, *, cause: BaseException | None = None, output: str = ""
    ) -> None:
        """Enter ``STOPPED``, for the first reason given. A `BootError` as cause is the error.

        ``output`` is the last that the machine has printed.
        """
        if self.state == State.STOPPED:
            return
        if isinstance(cause, BootError):
            self.error = cause
        else:
            self.error = MachineStopped(
                f"{self._name} stopped: {gone.detail}",
                machine=self._name,
                reason=gone.reason,
                output=output,
            )
            self.error.__cause__ = cause
        self._enter(State.STOPPED)

    @property
    def fault(self) -> str:
        """How it stopped, if not as its driver wanted: ``"stopped: killed by signal 9"``."""
        error = self.error
        if isinstance(error, MachineStopped) and error.reason in _WANTED:
            return ""
        return str(error or "").partition("\n")[0].removeprefix(f"{self._name} ")

    async def wait(self, state: State) -> None:
        """Wait until ``state``, or a later one, is reached; `UsageError` if it is no state."""
        if not isinstance(state, State):
            name = str(state).rpartition(".")[2].upper()
            hint = name if name in State.__members__ else "RUNNING"
            raise UsageError(f"wait takes a State: write wait(State.{hint}), not wait({state!r})")
        while self.state < state:
            await self._changed.wait()
        await trio.lowlevel.checkpoint()

    def stopped_error(self, method: str = "") -> MachineStopped:
        """Return a new error for one caller; `error` is shared by all."""
        error = self.error
        first_line = str(error).partition("\n")[0]
        text = f"{method} was cut off: {first_line}" if method else first_line
        if isinstance(error, MachineStopped):
            stopped = MachineStopped(
                text, machine=self._name, reason=error.reason, output=error.output
            )
            stopped.__cause__ = error.__cause__
        else:
            stopped = MachineStopped(text, machine=self._name, reason=StopReason.BOOT)
            stopped.__cause__ = error
        return stopped

    def _enter(self, state: State) -> None:
        if state > self.state:
            self.state = state
            self._changed.set()
            self._notify(MachineChanged(self._name, self._addr, state, self.error))
