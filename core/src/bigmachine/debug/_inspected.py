"""What a look inside needs of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..logs._kept import AsyncLogReader
    from ..machine._async import AsyncMachine
    from ..metrics import SessionVariables
    from ..profiling import Profile, ThreadDump


class Inspected(Protocol):
    """A session, as far as one can look inside."""

    @property
    def machines(self) -> Sequence[AsyncMachine]: ...

    def logs(self, machine: str | None, *, follow: bool) -> AsyncLogReader: ...

    async def variables(self) -> SessionVariables: ...

    async def profile(self, seconds: float) -> Profile: ...

    async def heap(self, seconds: float) -> Profile: ...

    async def threads(self) -> ThreadDump: ...
