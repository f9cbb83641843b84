"""The supervisor's methods by which a driver debugs the methods of services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import NotSupportedError

if TYPE_CHECKING:
    from ..debugger._breakpoints import Breakpoints
    from ..debugger._protocol import Reply, Stop


class DebuggerMethods:
    """Serves a part of ``Supervisor.*``.

    ``breakpoints`` are those of the machine's process, if that is its own.
    """

    def __init__(self, breakpoints: Breakpoints | None) -> None:
        self._breakpoints = breakpoints

    async def breakpoints(self, after: int) -> list[Stop]:
        """Wait until methods have stopped in the debugger, later than ``after``; return those."""
        return await self._debugger.after(after)

    async def debug_attach(self, number: int, sources: Mapping[str, str]) -> Reply:
        """Begin to debug a method that has stopped, with the text of files that it lacks."""
        return await self._debugger.attach(number, sources)

    async def debug_send(self, number: int, line: str) -> Reply:
        """Answer the debugger's prompt; return its next reply."""
        return await self._debugger.send(number, line)

    async def debug_complete(
        self, number: int, text: str, line: str, begin: int, end: int
    ) -> list[str]:
        """Return what ``text`` may be the beginning of, at the debugger's prompt."""
        return await self._debugger.completions(number, text, line, begin, end)

    async def debug_decline(self) -> None:
        """Let methods go on that wait in the debugger, and stop no others."""
        await self._debugger.decline()

    async def post_mortem(self, failure: str) -> Stop:
        """Begin to debug a call that has failed, if its frames are kept."""
        return await self._debugger.post_mortem(failure)

    @property
    def _debugger(self) -> Breakpoints:
        if self._breakpoints is None:
            raise NotSupportedError("this machine shares its process with others: pdb is as ever")
        return self._breakpoints
