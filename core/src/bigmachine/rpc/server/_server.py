"""The machine's server: accepts connections, verifies certificates, and serves calls.

Nothing a peer sends is parsed as more than TLS until its certificate is verified.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import re
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import h11
import trio

from ..._identity import Identity
from ...errors import ProtocolError, UsageError
from ...metrics import Metric
from ...metrics._calls import call_metrics
from ...process import close_in_children
from .._frames import DEFAULT_LIMIT_BYTES
from .._protocol import LOOP_LANE
from ..loop._tasks import Function, TaskPool
from ..transport._channel import Channel, StreamChannel
from ..transport._tls import TlsChannel
from ._admission import Admission, AdmittingListener
from ._connection import SILENCE_TIMEOUT, ServingConnection
from ._http import HttpConnection
from ._memory_listener import MemoryListener
from ._registry import Services
from ._traffic import Traffic
from .lanes._served_lane import ServedLane
from .pools._call_ledger import LedgerCall
from .pools._call_span import Trace
from .pools._place_watch import PlaceWatch
from .pools._pools import Pools
from .pools._threads import ThreadPool

T = TypeVar("T")

logger = logging.getLogger("bigmachine.rpc")

_ENDING_POLL_SECONDS = 0.002
_LANE_NUMBER = re.compile("[1-9][0-9]{0,8}")


class Server:
    """Serves the service objects of one machine to the members of its session.

    Without an ``identity``, the listeners' streams must already be secure, as in-memory
    ones are. ``maxprocs`` bounds the threads that run ``def`` methods. A connection that
    brings nothing for ``silence_timeout`` seconds is closed. ``trace`` begins the spans of calls
    that come with a trace context.
    """

    def __init__(
        self,
        services: Services,
        *,
        identity: Identity | None,
        maxprocs: int,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        silence_timeout: float = SILENCE_TIMEOUT,
        trace: Trace | None = None,
    ) -> None:
        self.services = services
        self._trace = trace
        self._identity = identity
        self._context = identity.server_context() if identity is not None else None
        self._maxprocs = maxprocs
        self._limit_bytes = limit_bytes
        self._silence_timeout = silence_timeout
        self._admission = Admission()
        self._connections: set[ServingConnection] = set()
        self._by_token: dict[str, ServingConnection] = {}  # those that can have lanes
        self._traffic = Traffic()
        self._memory = MemoryListener()
        self._place_watch: PlaceWatch | None = None  # while it serves

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[Any]],
        *,
        task_status: trio.TaskStatus[list[Any]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve until cancelled."""
        threads = ThreadPool(self._maxprocs)
        self._place_watch = PlaceWatch(threads.running)
        try:
            async with trio.open_nursery() as nursery:
                self._pools = Pools(TaskPool(nursery), threads, self._trace)
                await trio.serve_listeners(
                    self._serve_stream,
                    [AdmittingListener(listener, self._admission) for listener in listeners],
                    handler_nursery=nursery,
                    task_status=task_status,
                )
        finally:
            self._memory.close()
            threads.close()  # after the connections, whose generators end in threads
            self.services.close()

    async def call_in_thread(self, function: Callable[[], T], *, name: str) -> T:
        """Call ``function`` in one of the threads of ``def`` methods; see `ThreadPool.call`."""
        return await self._pools.threads.call(function, name=name)

    async def run_in_task(self, function: Function) -> None:
        """Run ``function`` in one of the tasks of ``async def`` methods; see `TaskPool.run`."""
        await self._pools.tasks.run(function)

    def check_places(self) -> None:
        """Name methods that hold a place and do nothing, while others wait; see `PlaceWatch`.

        And those that go on for long after they were cancelled.
        """
        if self._place_watch is not None:
            self._pools.threads.warn_of_abandoned()
            self._place_watch.check(is_any_waiting=self._pools.threads.has_queue())

    def activity(self) -> tuple[int, bool]:
        """Return how many calls have begun so far, and whether any method runs now.

        The supervisor's do not count. A method runs from the arrival of its call until it has
        ended, which may be long after its caller has cancelled the call; a stream until its last
        item is sent.
        """
        is_busy = any(not call.method.is_of_supervisor for call in self._in_flight()) or any(
            call.is_running and not call.method.is_of_supervisor
            for call in self._pools.ledger.cancelled
        )
        begun = self._pools.ledger.begun + sum(c.begun_over_lanes for c in self._connections)
        return begun, is_busy

    def metrics(self) -> list[Metric]:
        """Return its metrics: of its calls, without the supervisor's, and of its connections."""
        in_flight = Counter(call.method.calls for call in self._in_flight())
        return [*call_metrics(self.services.calls, in_flight), *self._traffic.metrics()]

    async def end_calls(self, timeout: float, *, with_threads: bool) -> None:
        """Cancel all calls but the supervisor's, and leave new ones unanswered.

        Waits for ``timeout`` seconds at most until they have ended, and those that their callers
        cancelled before; ``with_threads`` also for methods in threads, which can't be cancelled.
        """
        threads, ledger = self._pools.threads, self._pools.ledger
        ledger.close()
        for connection in self._connections:
            connection.cancel_calls()
        with trio.move_on_after(timeout):
            while (with_threads and threads.is_busy) or any(
                call.is_running if with_threads else not call.has_ended for call in ledger.cancelled
            ):
                await trio.sleep(_ENDING_POLL_SECONDS)

    def heard_from(self, peer: str) -> float:
        """Return when this member sent something last, on trio's clock; ``-inf`` if never.

        Calls by POST count for nothing here.
        """
        return max((c.received_at for c in self._connections if c.peer == peer), default=-math.inf)

    async def flush(self, timeout: float) -> None:
        """Send the replies that are due so far, in at most ``timeout`` seconds for all."""
        with trio.move_on_after(timeout):
            async with trio.open_nursery() as nursery:
                for connection in self._connections:
                    nursery.start_soon(connection.flushed)

    def _in_flight(self) -> Iterator[LedgerCall]:
        """Yield all calls that have begun and not ended, the supervisor's, too."""
        for connection in self._connections:
            yield from connection.calls
        yield from self._pools.ledger.posts

    async def _serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection; its errors are logged and end nothing else."""
        try:
            async with stream:
                channel, name = await self._secure(stream)
                member = self._admission.member(name) if name else contextlib.nullcontext()
                try:
                    with member, self._traffic.of(channel):
                        await self._serve_channel(channel, name)
                finally:
                    channel.close()
        except (
            ssl.SSLError,
            OSError,
            trio.BrokenResourceError,
            ProtocolError,
            h11.RemoteProtocolError,
        ) as exc:
            logger.debug("a connection was rejected or broke: %s", exc)
        except trio.TooSlowError:
            logger.debug("a connection was too slow, or gave way to another")
        except Exception:
            logger.exception("a connection failed")

    async def _secure(self, stream: trio.abc.Stream) -> tuple[Channel, str]:
        """Return a secure channel and the peer's name; no name if the stream is secure already."""
        if self._context is None or self._identity is None:
            return StreamChannel(stream), ""
        with self._admission.stranger():
            if isinstance(stream, trio.SocketStream):
                sock = socket.socket(fileno=stream.socket.detach())
                channel = TlsChannel(sock, self._context, server_side=True)
                try:
                    await channel.handshake()
                    return channel, self._identity.check_peer(channel.ssl_object.getpeercert())
                except BaseException:
                    channel.close()
                    raise
            tls = trio.SSLStream(stream, self._context, server_side=True, https_compatible=True)
            await tls.do_handshake()
            return StreamChannel(tls), self._identity.check_peer(tls.getpeercert())

    async def _serve_channel(self, channel: Channel, peer: str) -> None:
        """Serve HTTP requests and, after an upgrade, frames."""
        token = secrets.token_hex(16) if isinstance(channel, TlsChannel) else ""
        upgrade = await HttpConnection(
            channel,
            services=self.services,
            pools=self._pools,
            limit_bytes=self._limit_bytes,
            silence_timeout=self._silence_timeout,
            token=token,
            new_lane=functools.partial(self._new_lane, peer) if token else lambda _: None,
            offer_memory=functools.partial(self._offer_memory, channel),
        ).run()
        if upgrade is None:
            return
        if upgrade.lane is not None and isinstance(channel, TlsChannel):
            await upgrade.lane.serve(channel)
            return
        connection = ServingConnection(
            channel,
            services=self.services,
            pools=self._pools,
            peer=peer,
            limit_bytes=self._limit_bytes,
            silence_timeout=self._silence_timeout,
            leading=upgrade.leading,
        )
        self._connections.add(connection)
        if token:
            self._by_token[token] = connection
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._by_token.pop(token, None)

    def _offer_memory(self, channel: Channel) -> str:
        return self._memory.offer(channel) if isinstance(channel, TlsChannel) else ""

    def _new_lane(self, peer: str, wanted: str) -> ServedLane | None:
        """Return a new lane of the connection, and with the number, that a request names."""
        is_to_loop = wanted.endswith(LOOP_LANE)
        token, _, number = wanted.removesuffix(LOOP_LANE).partition(" ")
        connection = self._by_token.get(token)
        if connection is None or connection.peer != peer or not _LANE_NUMBER.fullmatch(number):
            return None
        return connection.add_lane(int(number), is_to_loop=is_to_loop)


async def open_listeners(address: str) -> list[trio.SocketListener]:
    """Open listeners at ``HOST:PORT``, or take over the listening socket ``fd:N``."""
    if address.startswith("fd:"):
        sock = socket.socket(fileno=int(address.removeprefix("fd:")))
        # A child that a service forks must not keep the port open.
        return [trio.SocketListener(trio.socket.from_stdlib_socket(close_in_children(sock)))]
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise UsageError(f"a machine listens at HOST:PORT or fd:N, not at {address!r}")
    try:
        return await trio.open_tcp_listeners(int(port), host=host.strip("[]") or None)
    except OSError as exc:
        raise UsageError(
            f"can't listen at {address}: {exc.strerror or exc}; is another program there?"
        ) from exc
