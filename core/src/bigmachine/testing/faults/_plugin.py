"""`Faults`: a plugin that injects faults into the connections of any system."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING

import trio

from ..._events import SessionOpened
from ...errors import NotSupportedError, UsageError
from ...system import Event, hookimpl
from .._in_loop import call_in_loop
from ._plan import Direction as Direction
from ._plan import Fault as Fault
from ._plan import Injection as Injection
from ._plan import plan
from ._stream import FaultyStream

if TYPE_CHECKING:
    import httpx

    from ...rpc import Connect

logger = logging.getLogger("bigmachine.faults")


class Faults:
    """Injects faults into a session's connections: ``Session("ec2", plugins=[Faults()])``.

    Each direction of each connection has a `plan` of faults among ``kinds``, on average
    ``mean_bytes`` apart. It depends only on ``seed``: the same seed gives the same faults at
    the same bytes. Without a seed, a random one is chosen; it is in the log when the session
    opens, and in the repr. A DELAY takes ``mean_delay`` seconds on average.

    Without ``kinds``, the only faults are those injected by hand: `inject`, `partition` and
    `heal` work from any thread.

    It works on every system whose ``http_client`` is a `bigmachine.rpc.MachineClient`, as
    the default one is. A plugin lives on the driver, so connections between machines have
    no faults. Create one object for each session.
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        mean_bytes: float = 1 << 20,
        kinds: Iterable[Fault] = frozenset(Fault),
        mean_delay: float = 0.05,
    ) -> None:
        if mean_bytes < 1:
            raise UsageError(f"mean_bytes: must be 1 or more, not {mean_bytes!r}")
        self.seed = secrets.randbits(32) if seed is None else seed
        self.mean_bytes = mean_bytes
        self.mean_delay = mean_delay
        chosen = {Fault(kind) for kind in kinds}
        self.kinds = tuple(fault for fault in Fault if fault in chosen)
        self.injected: list[Injection] = []
        """The faults that were injected so far, in order."""
        self._token: trio.lowlevel.TrioToken | None = None
        self._streams: list[FaultyStream] = []
        self._count = 0
        self._passable = trio.Event()
        self._passable.set()

    def __repr__(self) -> str:
        kinds = ", ".join(self.kinds)
        return f"<Faults seed={self.seed} mean_bytes={self.mean_bytes} kinds: {kinds or 'none'}>"

    def plan(self, connection: int, direction: Direction) -> Iterator[Injection]:
        """Yield the planned faults of one direction of a connection."""
        return plan(
            self.seed,
            connection=connection,
            direction=direction,
            kinds=self.kinds,
            mean_bytes=self.mean_bytes,
            mean_delay=self.mean_delay,
        )

    def inject(
        self, fault: Fault, *, direction: Direction | None = None, address: str | None = None
    ) -> None:
        """Inject a fault into all open connections now; DROP and CORRUPT strike the next bytes.

        ``direction`` None is both. ``address`` selects the connections to one machine, by
        its `Instance.address`. Works from any thread, and returns when it is done.
        """
        fault = Fault(fault)
        directions = [Direction(direction)] if direction is not None else [*Direction]

        def do() -> None:
            for stream in tuple(self._streams):
                if address in (None, stream.address):
                    stream.inject(fault, directions)

        self._in_loop(do)

    def partition(self) -> None:
        """Let nothing through on any connection, old or new, without any error, until `heal`."""

        def do() -> None:
            if self._passable.is_set():
                self._passable = trio.Event()

        self._in_loop(do)

    def heal(self) -> None:
        """End the `partition`: delayed bytes arrive, except those behind a STALL."""
        self._in_loop(lambda: self._passable.set())

    @hookimpl
    def event(self, event: Event) -> None:
        """Log the seed."""
        if isinstance(event, SessionOpened):
            logger.warning(
                "faults are injected into the connections of session %s by %r", event.session, self
            )

    @hookimpl(wrapper=True)
    def http_client(self) -> Generator[None, httpx.AsyncClient, httpx.AsyncClient]:
        """Wrap the client's connections."""
        from ...rpc import MachineClient

        client = yield
        if not isinstance(client, MachineClient):
            raise NotSupportedError(
                "faults need an HTTP client of the class bigmachine.rpc.MachineClient, whose "
                f"connections can be wrapped; this system's is {type(client).__module__}."
                f"{type(client).__qualname__}"
            )
        if self._token is not None:
            raise UsageError(f"{self!r} was used in a session before: create another one")
        self._token = trio.lowlevel.current_trio_token()
        client.connect = functools.partial(self._connect, client.connect)
        return client

    async def _wait_passable(self) -> None:
        """Wait until there is no partition."""
        while not self._passable.is_set():
            await self._passable.wait()

    def _record(self, injection: Injection) -> None:
        """Record that a fault was injected."""
        self.injected.append(injection)
        logger.debug("injected: %s", injection)

    def _forget(self, stream: FaultyStream) -> None:
        """Remove a connection that was closed."""
        if stream in self._streams:
            self._streams.remove(stream)

    async def _connect(self, connect: Connect, host: str, port: int) -> trio.abc.Stream:
        await self._wait_passable()
        inner = await connect(host, port)
        # Counted once it is open: refused attempts must not change the plan.
        number, self._count = self._count, self._count + 1
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        stream = FaultyStream(
            inner,
            number=number,
            address=address,
            plans={direction: self.plan(number, direction) for direction in Direction},
            mean_delay=self.mean_delay,
            wait_passable=self._wait_passable,
            record=self._record,
            on_close=self._forget,
        )
        self._streams.append(stream)
        return stream

    def _in_loop(self, function: Callable[[], None]) -> None:
        """Call ``function`` in the session's loop, if there is one, and wait for it."""
        if self._token is None:
            function()
        else:
            call_in_loop(self._token, function)
