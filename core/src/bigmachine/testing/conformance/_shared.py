"""Machines that several tests share, because these only call them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import trio

from bigmachine.errors import BigmachineError
from bigmachine.machine._async import AsyncMachine
from bigmachine.session._async import AsyncSession

from ._probe import Probe
from ._wrappers import LogRecorder, Recorder

SERVICES = {"Probe": Probe()}

_SHARED_MACHINES = 2


class SharedMachines:
    """Two machines that stay up, in a session that a task of the loop holds open."""

    def __init__(
        self,
        open_session: Callable[[object, object], AbstractAsyncContextManager[AsyncSession]],
        *,
        timeout: float,
    ) -> None:
        self._open_session = open_session
        self._timeout = timeout
        self.recorder = Recorder()
        self.log = LogRecorder()
        self.session: AsyncSession | None = None
        self.machines: list[AsyncMachine] = []
        self._close = trio.Event()
        self._closed = trio.Event()

    async def is_well(self) -> bool:
        """Whether both machines still run: a fault of the backend may have ended them."""
        if len(self.machines) < _SHARED_MACHINES:
            return False
        with trio.move_on_after(self._timeout):
            try:
                for machine in self.machines:
                    await machine.call("Supervisor.ping")
            except BigmachineError:
                return False
            return True
        return False

    async def open(self) -> None:
        """Start the machines; raises what that raises."""
        opened: list[BaseException | None] = []
        is_open = trio.Event()

        async def hold() -> None:
            try:
                async with self._open_session(self.recorder, self.log) as self.session:
                    self.machines = [
                        machine
                        for _ in range(_SHARED_MACHINES)  # one by one: a start may return fewer
                        for machine in (await self.session.start(1, services=SERVICES))[:1]
                    ]
                    opened.append(None)
                    is_open.set()
                    await self._close.wait()
            except Exception as exc:
                opened.append(exc)
                is_open.set()
            finally:
                self._closed.set()

        # A system task: it outlives the test that opens the session.
        trio.lowlevel.spawn_system_task(hold, name="conformance: shared machines")
        await is_open.wait()
        if opened[0] is not None:
            raise opened[0]

    async def close(self) -> None:
        """End the session."""
        self._close.set()
        await self._closed.wait()
