"""What a session finds out about all of its machines at once: where their time and memory go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from ..errors import UsageError
from ..machine.calls._options import seconds as limit
from ._ask import ask_all

if TYPE_CHECKING:
    from ..logs._kept import AsyncLogReader, SessionLogs
    from ..machine._async import AsyncMachine
    from ..machine._sync import Machine
    from ..profiling import Profile, ThreadDump


class AsyncInspection(ABC):
    """The part of `AsyncSession` that looks into its machines."""

    _logs: SessionLogs

    @property
    @abstractmethod
    def machines(self) -> list[AsyncMachine]:
        """The machines to look into."""

    def logs(
        self, machine: str | Machine | AsyncMachine | None = None, *, follow: bool = True
    ) -> AsyncLogReader:
        """Return what a machine, or each of them, has printed and logged, and then what comes.

        An async iterator of `LogLine`: the last 64 kB of each machine, also of those that have
        ended; then what comes, until the machine has ended, or none is left. ``machine`` may be
        the name of one. Without ``follow``, it ends with what there is now. One that is read too
        slowly misses lines: a `LogLine` in their place says how many.
        """
        name = getattr(machine, "name", machine)
        if name is not None and not isinstance(name, str):
            raise UsageError(f"logs takes a machine or its name, not {machine!r}")
        return self._logs.read(name, follow=follow)

    async def profile(
        self, seconds: float = 10.0, *, hz: float = 100.0, timeout: float | None = 10.0
    ) -> Profile:
        """Profile all machines at once for ``seconds``: one profile, labelled by machine.

        It shows where their CPU time goes, function by function; see `AsyncMachine.profile`.
        A machine that fails, or does not answer within ``timeout`` seconds more, is named in
        `Profile.failures`; if that is true of all, the error of the first one is raised.
        """
        from ..profiling._checks import check_sampling

        check_sampling(seconds, hz)
        return await self._merged(
            lambda machine: machine.profile(seconds, hz=hz),
            timeout=seconds + limit("timeout", timeout),
        )

    async def heap(self, seconds: float = 0.0, *, timeout: float | None = 60.0) -> Profile:
        """Show what is in the memory of all machines, in bytes: one profile, labelled by machine.

        With ``seconds``, it is what lines of code allocate within that time and keep; see
        `AsyncMachine.heap`, and `profile` for ``timeout`` and failures.
        """
        from ..profiling._checks import check_heap

        check_heap(seconds)
        return await self._merged(
            lambda machine: machine.heap(seconds), timeout=seconds + limit("timeout", timeout)
        )

    async def threads(self, *, timeout: float | None = 10.0) -> ThreadDump:
        """Return the stack of each thread and each trio task of all machines.

        Equal stacks are printed once, with the names of their machines. A machine that fails, or
        does not answer within ``timeout`` seconds, is named in `ThreadDump.failures`; if that is
        true of all, the error of the first one is raised.
        """
        from ..profiling import ThreadDump

        found, failures = await ask_all(
            self.machines, lambda machine: machine.threads(), timeout=timeout
        )
        return replace(ThreadDump.merge(found.values()), failures=failures)

    async def _merged(
        self, ask: Callable[[AsyncMachine], Awaitable[Profile]], *, timeout: float
    ) -> Profile:
        from ..profiling import Profile

        found, failures = await ask_all(self.machines, ask, timeout=timeout)
        # In a thread: it takes a second for hundreds of machines, and keepalives must go on.
        merged = await trio.to_thread.run_sync(Profile.merge, found.values())
        return replace(merged, failures=failures)
