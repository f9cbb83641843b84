"""`Faults`: a plugin that hurts the connections of any system, at a seeded rate."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import logging
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING

import trio

from ..._events import SessionOpened
from ...errors import NotSupportedError, UsageError
from ...system import Event, hookimpl
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
    """Wraps a session's connections and hurts them: ``Session("ec2", plugins=[Faults()])``.

    Each direction of each connection has a `plan` of faults among ``kinds``, at byte
    offsets that are on average ``mean_bytes`` apart. It follows from ``seed`` alone, so
    the same seed hurts the same connection at the same bytes. With no seed one is made
    up; it is logged when the session opens, and in the repr. No ``kinds`` means no
    faults but those injected by hand: `inject`, `partition` and `heal` work from any
    thread. A DELAY takes ``mean_delay`` seconds on average.

    Works on every system whose ``http_client`` is a `bigmachine.rpc.MachineClient`, as
    the default one is. Plugins live on the driver, so machines' connections to their
    peers are spared. One object is for one session.
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
        """What was injected so far, in the order that it happened."""
        self._token: trio.lowlevel.TrioToken | None = None
        self._streams: list[FaultyStream] = []
        self._count = 0
        self._passable = trio.Event()
        self._passable.set()

    def __repr__(self) -> str:
        kinds = ", ".join(self.kinds)
        return f"<Faults seed={self.seed} mean_bytes={self.mean_bytes} kinds: {kinds or 'none'}>"

    def plan(self, connection: int, direction: Direction) -> Iterator[Injection]:
        """Yield what awaits one direction of a connection; ends if the direction does."""
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
        """Hurt the live connections now; the bytes of a DROP or CORRUPT are the next to pass.

        ``direction`` None is both. ``address`` chooses the connections to one machine,
        by its `Instance.address`. From any thread; returns when it has happened.
        """
        fault = Fault(fault)
        directions = [Direction(direction)] if direction is not None else [*Direction]

        def do() -> None:
            for stream in tuple(self._streams):
                if address in (None, stream.address):
                    stream.inject(fault, directions)

        self._in_loop(do)

    def partition(self) -> None:
        """Let nothing through, on no connection, old or new, and say nothing, until `heal`."""

        def do() -> None:
            if self._passable.is_set():
                self._passable = trio.Event()

        self._in_loop(do)

    def heal(self) -> None:
        """End the `partition`: what was held back arrives. What a STALL holds never does."""
        self._in_loop(lambda: self._passable.set())

    @hookimpl
    def event(self, event: Event) -> None:
        """Log the seed."""
        if isinstance(event, SessionOpened):
            logger.warning("connections of session %s are hurt by %r", event.session, self)

    @hookimpl(wrapper=True)
    def http_client(self) -> Generator[None, httpx.AsyncClient, httpx.AsyncClient]:
        """Put itself between the client and its machines."""
        from ...rpc import MachineClient

        client = yield
        if not isinstance(client, MachineClient):
            raise NotSupportedError(
                "faults need an HTTP client whose connections they can get at, a "
                f"bigmachine.rpc.MachineClient; this system's is {type(client).__module__}."
                f"{type(client).__qualname__}"
            )
        if self._token is not None:
            raise UsageError(f"{self!r} was in a session already; make another one")
        self._token = trio.lowlevel.current_trio_token()
        client.connect = functools.partial(self._connect, client.connect)
        return client

    async def _wait_passable(self) -> None:
        """Wait until there is no partition."""
        while not self._passable.is_set():
            await self._passable.wait()

    def _record(self, injection: Injection) -> None:
        """Note that a fault was injected."""
        self.injected.append(injection)
        logger.debug("injected: %s", injection)

    def _forget(self, stream: FaultyStream) -> None:
        """Let go of a connection that was closed."""
        if stream in self._streams:
            self._streams.remove(stream)

    async def _connect(self, connect: Connect, host: str, port: int) -> trio.abc.Stream:
        await self._wait_passable()
        inner = await connect(host, port)
        # Counted once it is made, so that it doesn't matter how often a port refused.
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
        """Call ``function`` in the session's loop, from wherever this is, and wait for it."""
        if self._token is None or self._token is _this_loop():
            function()
            return
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def call() -> None:
            try:
                function()
            finally:
                done.set_result(None)

        with contextlib.suppress(trio.RunFinishedError):  # and so did all connections
            self._token.run_sync_soon(call)
            done.result()


def _this_loop() -> trio.lowlevel.TrioToken | None:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:  # in no loop at all
        return None
