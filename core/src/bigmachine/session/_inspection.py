"""What a session finds out about all of its machines at once: where their time and memory go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..machine._ask import ask_all

if TYPE_CHECKING:
    from ..machine._async import AsyncMachine
    from ..profiling import Profile, ThreadDump


class AsyncInspection(ABC):
    """The part of `AsyncSession` that looks into its machines."""

    @property
    @abstractmethod
    def machines(self) -> list[AsyncMachine]:
        """The machines to look into."""

    async def profile(
        self, seconds: float = 10.0, *, hz: float = 100.0, timeout: float = 10.0
    ) -> Profile:
        """Profile all machines at once for ``seconds``: one profile, labelled by machine.

        It shows where their CPU time goes, function by function; see `AsyncMachine.profile`.
        A machine that fails, or does not answer within ``timeout`` seconds more, is named in
        `Profile.failures`; if that is true of all, the error of the first one is raised.
        """
        from ..profiling._checks import check_sampling

        check_sampling(seconds, hz)
        return await self._merged(
            lambda machine: machine.profile(seconds, hz=hz), timeout=seconds + timeout
        )

    async def heap(self, seconds: float = 0.0, *, timeout: float = 60.0) -> Profile:
        """Show what is in the memory of all machines, in bytes: one profile, labelled by machine.

        With ``seconds``, it is what lines of code allocate within that time and keep; see
        `AsyncMachine.heap`, and `profile` for ``timeout`` and failures.
        """
        from ..profiling._checks import check_heap

        check_heap(seconds)
        return await self._merged(lambda machine: machine.heap(seconds), timeout=seconds + timeout)

    async def threads(self, *, timeout: float = 10.0) -> ThreadDump:
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
        return replace(Profile.merge(found.values()), failures=failures)
