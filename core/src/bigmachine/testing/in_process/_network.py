"""A network in this process: a `Host` for each machine, and `connect` to reach one.

Its streams behave as TCP does: what was sent before a close still arrives, a slow reader
blocks the writer, and a partition lets nothing through, not even the end of a stream.
"""

from __future__ import annotations

import errno
import itertools
import math
import operator

import trio
from trio.lowlevel import ParkingLot, checkpoint, current_trio_token

_ROOM_BYTES = 256 << 10  # in transit in one direction: about the size of socket buffers
_CHUNK_BYTES = 64 << 10  # if a reader sets no limit
_PORT = 1  # one machine, one port

_hosts: dict[str, Host] = {}  # of all systems in this process, by address
_numbers = itertools.count()


class Host(trio.abc.Listener["MemoryStream"]):
    """One machine on the network: it accepts connections, and makes them.

    Connections can be made from the start; they wait until the machine accepts them. It
    belongs to the trio loop in which it was created, and so do its clients.
    """

    def __init__(self, name: str) -> None:
        # A host name, for it goes into URLs; unlike the machine's, unique in the process.
        self.address = f"{name}-{next(_numbers)}.in-process:{_PORT}"
        self.token = current_trio_token()
        self.is_partitioned = False
        self.links: set[_Link] = set()
        self.changed = ParkingLot()
        self._is_closed = False
        self._arriving, self._arrived = trio.open_memory_channel[MemoryStream](math.inf)
        _hosts[self.address] = self

    async def accept(self) -> MemoryStream:
        """Wait for the next connection."""
        return await self._arrived.receive()

    async def aclose(self) -> None:
        """Stop listening; refuse new connections."""
        self.close()
        await checkpoint()

    async def connected_from(self, source: Host | None) -> MemoryStream:
        """Return the client's end of a new connection; ``source`` None is the driver."""
        await checkpoint()
        ends = (source, self)
        while away := [end for end in ends if end is not None and end.is_partitioned]:
            await away[0].changed.park()
        if self._is_closed:
            raise _refused(self.address)
        link = _Link(*ends)
        self._arriving.send_nowait(link.streams[1])
        return link.streams[0]

    def close(self) -> None:
        """Disappear with its process: connections end, and new ones are refused."""
        self._is_closed = True
        for link in tuple(self.links):
            link.close(self)
        if not self.is_partitioned:  # else clients must not notice
            _hosts.pop(self.address, None)

    def reset(self) -> None:
        """Break every connection, and lose what is in transit."""
        for link in tuple(self.links):
            link.reset()

    def partition(self) -> None:
        """Let nothing through in either direction, without any error."""
        self.is_partitioned = True

    def heal(self) -> None:
        """Let everything through again; delayed bytes arrive."""
        self.is_partitioned = False
        self.changed.unpark_all()
        for link in self.links:
            link.wake()
        if self._is_closed:
            self.close()


async def connect(host: str, port: int, *, source: Host | None = None) -> MemoryStream:
    """Open a stream to the machine at ``host:port`` from the machine ``source``.

    Raises `ConnectionRefusedError` if no machine is there.
    """
    address = f"{host}:{port}"
    there = _hosts.get(address)
    if there is None:
        await checkpoint()
        raise _refused(address)
    if there.token is not current_trio_token():
        raise OSError(errno.ENETUNREACH, f"{address} is in another trio loop of this process")
    return await there.connected_from(source)


class MemoryStream(trio.abc.Stream):
    """One end of a connection."""

    def __init__(self, link: _Link, *, sent: _Pipe, received: _Pipe) -> None:
        self._link = link
        self._sent = sent
        self._received = received
        self.is_closed = False
        self._is_sending = self._is_receiving = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, as fast as there is room."""
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._is_sending = True
        try:
            await checkpoint()
            self._check_can_send()
            rest = memoryview(data)
            while rest:
                await self._wait_for_room()
                count = min(len(rest), self._sent.room)
                self._sent.put(rest[:count])
                rest = rest[count:]
        finally:
            self._is_sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room, or an error."""
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._is_sending = True
        try:
            await checkpoint()
            await self._wait_for_room()
        finally:
            self._is_sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for data, and return up to ``max_bytes`` of it; none at the end."""
        max_bytes = _CHUNK_BYTES if max_bytes is None else operator.index(max_bytes)
        if max_bytes < 1:
            raise ValueError("max_bytes must be 1 or more")
        if self._is_receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._is_receiving = True
        try:
            await checkpoint()
            while True:
                self._check_open()
                if self._link.is_up:
                    if self._received.is_broken:
                        raise trio.BrokenResourceError("the connection was reset")
                    if self._received.data or self._received.is_ended:
                        return self._received.take(max_bytes)
                await self._received.changed.park()
        finally:
            self._is_receiving = False

    async def aclose(self) -> None:
        """Close both directions; what was sent still arrives."""
        self.close()
        await checkpoint()

    def close(self) -> None:
        """Do it without waiting."""
        if not self.is_closed:
            self.is_closed = True
            self._sent.is_ended = True
            self._received.break_()  # nobody receives what the peer sends
            self._link.wake()
            self._link.forget_if_over()

    def _check_open(self) -> None:
        if self.is_closed:
            raise trio.ClosedResourceError("this stream was closed")

    def _check_can_send(self) -> None:
        self._check_open()
        if self._sent.is_broken and self._link.is_up:
            raise trio.BrokenResourceError("the peer is gone")

    async def _wait_for_room(self) -> None:
        self._check_can_send()
        while not self._sent.room:
            await self._sent.changed.park()
            self._check_can_send()


class _Link:
    """A connection between a client, the driver if None, and a host."""

    def __init__(self, source: Host | None, host: Host) -> None:
        self._ends = (source, host)
        there, back = _Pipe(), _Pipe()
        self._pipes = (there, back)
        self.streams = (
            MemoryStream(self, sent=there, received=back),
            MemoryStream(self, sent=back, received=there),
        )
        for end in self._ends:
            if end is not None:
                end.links.add(self)

    @property
    def is_up(self) -> bool:
        """Whether neither end is cut off."""
        return not any(end is not None and end.is_partitioned for end in self._ends)

    def close(self, host: Host) -> None:
        """Close the end of ``host``."""
        for end, stream in zip(self._ends, self.streams, strict=True):
            if end is host:
                stream.close()

    def reset(self) -> None:
        """Break both directions."""
        for pipe in self._pipes:
            pipe.break_()
        self.wake()

    def wake(self) -> None:
        """Wake all tasks that wait here."""
        for pipe in self._pipes:
            pipe.changed.unpark_all()

    def forget_if_over(self) -> None:
        """Remove it from its hosts once both ends are closed."""
        if all(stream.is_closed for stream in self.streams):
            for end in self._ends:
                if end is not None:
                    end.links.discard(self)


class _Pipe:
    """One direction of a connection: bytes that were sent and not received yet."""

    __slots__ = ("changed", "data", "is_broken", "is_ended")

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_ended = False  # nothing comes after the data
        self.is_broken = False  # nothing comes at all
        self.changed = ParkingLot()

    @property
    def room(self) -> int:
        """How many bytes can be sent now."""
        return _ROOM_BYTES - len(self.data)

    def put(self, data: memoryview) -> None:
        if not self.is_broken:
            self.data += data
            self.changed.unpark_all()

    def take(self, max_bytes: int) -> bytes:
        with memoryview(self.data) as view:
            taken = bytes(view[:max_bytes])
        del self.data[:max_bytes]
        self.changed.unpark_all()
        return taken

    def break_(self) -> None:
        self.is_broken = True
        self.data.clear()


def _refused(address: str) -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, f"no machine listens at {address}")
