"""The connection to one machine: made again when it is lost, replaced when it is silent."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from .._backoff import backoff
from .._repeated_event import RepeatedEvent
from .._values import Diagnose, Keepalive, KeepaliveReply, Termination
from ..errors import BigmachineError, ProtocolError, RpcError, StopReason, TransportError
from ..rpc import Connection, ConnectionLost, ForeignPeer, dial
from .supervisor._client import supervisor

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("bigmachine.machine")

REFUSED = Termination(StopReason.EXITED, "nothing listens at its address any more")


class Link:
    """The connection to one machine: `first` makes it, `keep` renews it, `ask` tests it.

    Each connection is served by a task in the nursery that those methods are given,
    from its dial until it is lost, or closed here. ``diagnose`` asks why the machine
    is gone, if it is, and ``probe_boot_program`` asks the same of the boot program, which may
    answer in the worker's place. ``changed`` is set when `connection` changes, or `is_in_doubt`.
    An ``owned`` machine is kept alive by being asked; another one is only watched.
    """

    def __init__(
        self,
        name: str,
        *,
        addr: str,
        http: httpx.AsyncClient,
        owned: bool,
        timings: Keepalive,
        diagnose: Diagnose,
        probe_boot_program: Diagnose,
        changed: RepeatedEvent,
    ) -> None:
        self._name = name
        self._addr = addr
        self._http = http
        self._owned = owned
        self._timings = timings
        self._diagnose = diagnose
        self._probe_boot_program = probe_boot_program
        self._changed = changed
        self._served: _Served | None = None
        self.connection: Connection | None = None
        """The live connection, if there is one; for any thread."""
        self._is_judging = False
        self._last_reply = KeepaliveReply(next=timings.period, healthy=True)
        self.first_error: Exception | None = None
        """Why the latest attempt of `first` failed."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether the connection is lost and it is not known yet why."""
        connection = self.connection
        return self._is_judging or (connection is not None and not connection.is_open)

    async def first(self, nursery: trio.Nursery) -> Connection:
        """Dial until the machine answers; raise if it can't any more."""
        waits = backoff()
        while True:
            try:
                served = await self._dial(nursery)
            except (ConnectionRefusedError, TransportError, ForeignPeer, trio.TooSlowError) as exc:
                if not self._owned and not isinstance(exc, trio.TooSlowError):
                    # Its address was given, so it should run already: there is nothing to wait for.
                    if isinstance(exc, ForeignPeer):
                        raise
                    raise TransportError(str(exc), addr=self._addr) from exc
                self.first_error = exc
                if (gone := await self._diagnose()) is not None:
                    raise BigmachineError(gone.detail) from None
            else:
                self._use(served)
                return served.connection
            await trio.sleep(next(waits))

    async def keep(self, nursery: trio.Nursery) -> Termination:
        """Each time the connection is lost, dial again; return once the machine is gone."""
        while True:
            while self._served is not None:
                await self._changed.wait()
            if (gone := await self.renew(nursery)) is not None:
                return gone

    async def renew(self, nursery: trio.Nursery) -> Termination | None:
        """Dial again, if the connection is lost, until the machine answers, or is gone."""
        if (gone := await self._diagnose()) is not None:
            return gone
        if self.connection is None or not self.connection.is_open:
            for attempt, pause in enumerate(backoff()):
                try:
                    self._use(await self._dial(nursery))
                    break
                except ConnectionRefusedError:
                    return REFUSED
                except (RpcError, trio.TooSlowError) as exc:
                    # Perhaps the network fails; the keepalive bounds how long that may last.
                    logger.debug("%s: can't be reached: %s", self._name, exc)
                    if isinstance(exc, ProtocolError):
                        gone = await self._probe_boot_program()
                        if gone is not None:
                            return gone
                    # The first may meet a process that is just being ended.
                    if attempt or isinstance(exc, trio.TooSlowError):
                        self._set_judged()
                await trio.sleep(pause)
            self._set_judged()
        return None

    async def ask(self) -> KeepaliveReply | None:
        """Ask for a sign of life; None if none comes in time."""
        connection = self.connection
        return await self._ask(connection) if connection is not None else None

    async def ask_anew(self, nursery: trio.Nursery) -> KeepaliveReply | None:
        """Ask again, over the old and over a new connection; None if neither brings a reply.

        A connection may be dead without any error: a router on the way has dropped it, and a
        new one would work. If only the new one brings a reply, it replaces the old one, whose
        calls end. If neither does, the network is cut or the machine hangs; then the old one
        is kept, since its calls survive if the machine answers again.
        """
        old = self._served
        if old is None or old.connection.connects_per_call:
            return None  # there is none, or each call makes its own
        new = old_reply = new_reply = None
        with trio.move_on_after(self._timings.rpc_timeout):
            async with trio.open_nursery() as asking:

                async def ask_old() -> None:
                    nonlocal old_reply
                    old_reply = await self._ask(old.connection)
                    if old_reply is not None:
                        asking.cancel_scope.cancel()

                asking.start_soon(ask_old)
                try:
                    new = await self._dial(nursery)
                    new_reply = await self._ask(new.connection)
                    asking.cancel_scope.cancel()
                except (ConnectionRefusedError, RpcError, trio.TooSlowError) as exc:
                    logger.debug("%s: can't be reached again: %s", self._name, exc)
        if new_reply is not None and old_reply is None:
            # After a cut both work again, but the old one perhaps later: TCP's retransmissions
            # come more and more rarely. It is worth waiting for, since its calls survive.
            old_reply = await self._ask(old.connection)
        if new is not None:
            if new_reply is not None and old_reply is None and self._served is old:
                logger.warning(
                    "%s: its connection was silent and is replaced: it answers on a new one",
                    self._name,
                )
                self._use(new)
                old.close()
            else:
                new.close()
        return old_reply or new_reply

    async def _ask(self, connection: Connection) -> KeepaliveReply | None:
        began, asked = trio.current_time(), supervisor(connection)
        with trio.move_on_after(self._timings.rpc_timeout):
            try:
                if self._owned:
                    self._last_reply = await asked.keepalive(self._timings.timeout)
                else:
                    await asked.ping()
                return self._last_reply
            except BigmachineError as exc:
                logger.debug("%s: keepalive: %s", self._name, exc)
                return None
        # Its reply may wait behind those to thousands of calls, but these show as much.
        return self._last_reply if connection.received_at > began else None

    async def _dial(self, nursery: trio.Nursery) -> _Served:
        # Bounded, since the reply to this very attempt may be lost on the way.
        with trio.fail_after(self._timings.rpc_timeout):
            return await nursery.start(self._serve)  # type: ignore[no-any-return]

    async def _serve(self, *, task_status: trio.TaskStatus[_Served]) -> None:
        """Dial, and serve the connection until it is lost or closed."""
        async with dial(self._http, self._addr) as connection:
            served = _Served(connection)
            try:
                with served.scope:
                    task_status.started(served)
                    await connection.run()
            finally:
                if self._served is served:
                    self._lose()

    def _use(self, served: _Served) -> None:
        """Use this connection from now on."""
        self._served, self.connection = served, served.connection
        if not served.connection.is_open:  # lost as soon as it was made
            self._lose()
        self._changed.set()

    def _set_judged(self) -> None:
        """Let callers know that the machine is not known to be gone."""
        self._is_judging = False
        self._changed.set()

    def _lose(self) -> None:
        self._served = self.connection = None
        self._is_judging = True
        self._changed.set()


class _Served:
    """A connection with the scope of the task that serves it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.scope = trio.CancelScope()

    def close(self) -> None:
        """End the task, and thus the connection and its calls."""
        self.scope.cancel()


async def follow(
    connected: Callable[[], Awaitable[Connection]],
    ask: Callable[[Connection], Awaitable[None]],
    what: str,
) -> None:
    """Ask a machine for more of ``what``, again and again, over whatever connection there is.

    Ends when it is cancelled, or when asking fails for another reason than the connection.
    """
    waits = backoff()
    while True:
        connection = await connected()
        try:
            await ask(connection)
            waits = backoff()
        except ConnectionLost:
            await trio.sleep(next(waits))
        except Exception:
            logger.exception("%s: following its %s failed", connection.machine, what)
            return
