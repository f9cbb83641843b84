"""What a service's ``setup`` gets on a machine: a way to connect to the other machines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from ..machine._sync import Machine, sync_api
from ..services._handle import Handle
from ..services._tracebacks import short_tracebacks
from ..system import System

if TYPE_CHECKING:
    import trio

    from .._identity import Identity
    from ..machine._async import AsyncMachine
    from ..machine._portal import Portal
    from ._fleet import Fleet


class _PeerSession(Handle):
    """What both of them are."""

    _instead = "each machine's own services get one in their setup()"

    if not TYPE_CHECKING:  # otherwise a type checker would accept any name

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}: the session of a setup() can "
                "connect() to machines; only the driver's session can start them, or end"
            )


class AsyncPeerSession(_PeerSession):
    """The driver's session as seen from one of its machines: it connects to the other machines.

    An ``async def setup(self, session)`` of a service gets one. It cannot start machines.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        system: System,
        nursery: trio.Nursery,
        observers: Iterable[object] = (),
    ) -> None:
        self._identity = identity
        self._system = system
        self._nursery = nursery
        self._observers = observers
        self._fleet: Fleet | None = None  # from the first connect()

    def __repr__(self) -> str:
        return f"<PeerSession {self.name} on {self.system.name!r}>"

    @property
    def name(self) -> str:
        """The name of the driver's session."""
        return self._identity.session

    @property
    def system(self) -> System:
        """The session's system."""
        return self._system

    @property
    def machines(self) -> list[AsyncMachine]:
        """The machines that it is connected to, in the order they came."""
        return self._fleet.machines if self._fleet else []

    async def connect(
        self, addr: str | Machine | AsyncMachine, *, timeout: float | None = None
    ) -> AsyncMachine:
        """Connect to a machine of the session by its ``addr``.

        Returns it ``RUNNING``; connecting to the same address again returns the same object.
        Raises `RpcError` if the machine can't be reached, if it does not answer within
        ``timeout`` seconds, or if another one answers. In place of the address, ``addr`` may be
        a machine object.
        """
        self._fleet = self._fleet or self._new_fleet()
        return await self._fleet.connect(addr, timeout=timeout)

    def _new_fleet(self) -> Fleet:
        # Many services with a setup() call no peer, and an HTTP client takes long to import.
        from ..logs._kept import SessionLogs
        from ..machine.output._stderr import StderrWriter
        from ..system._plugins import Plugins
        from ._fleet import Fleet

        plugins = Plugins(self.system, observers=self._observers)
        return Fleet(
            self.name,
            plugins=plugins,
            http=plugins.hooks.http_client(identity=self._identity),
            nursery=self._nursery,
            stderr=StderrWriter(""),  # what peers print goes to the driver
            logs=SessionLogs(),
            on_freed=lambda instance: None,  # peers belong to the driver
        )


@short_tracebacks
class PeerSession(_PeerSession):
    """The driver's session as seen from one of its machines; see `AsyncPeerSession`.

    A ``def setup(self, session)`` of a service gets one.
    """

    def __init__(self, session: AsyncPeerSession, portal: Portal) -> None:
        self._session = session
        self._portal = portal
        self._sync = sync_api(portal)

    def __repr__(self) -> str:
        return repr(self._session)

    @property
    def name(self) -> str:
        """The name of the driver's session."""
        return self._session.name

    @property
    def system(self) -> System:
        """The session's system."""
        return self._session.system

    @property
    def machines(self) -> list[Machine]:
        """The machines that it is connected to, in the order they came."""
        return [self._sync(machine) for machine in self._session.machines]

    def connect(
        self, addr: str | Machine | AsyncMachine, *, timeout: float | None = None
    ) -> Machine:
        """Connect to a machine of the session; see `AsyncPeerSession.connect`."""
        return self._sync(self._portal.run(self._session.connect, addr, timeout=timeout))
