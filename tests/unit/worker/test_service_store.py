"""What a machine keeps of a large service, and passes on while it comes in."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import resource
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from bigmachine.errors import UsageError
from bigmachine.worker._service_store import PIECE_BYTES, ServiceStore
from tests.support.clocks import jumping_clock


class Peer:
    """Another machine, as it is seen over a connection."""

    def __init__(self, store: ServiceStore, *, ends_after: int = 1000) -> None:
        self.store = store
        self.ends_after = ends_after
        self.opened = contextlib.AsyncExitStack()

    async def stream(self, method: str, args: Any, kwargs: Any) -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            left = self.ends_after
            async with contextlib.aclosing(self.store.send(*args)) as found:
                async for piece in found:
                    if not left:
                        raise OSError("the connection ended")
                    left -= 1
                    yield piece

        assert (method, kwargs) == ("Supervisor.send_service", {})
        return await self.opened.enter_async_context(contextlib.aclosing(pieces()))


def new_store(**peers: Peer) -> ServiceStore:
    @contextlib.asynccontextmanager
    async def dial(addr: str) -> AsyncIterator[Any]:
        if addr == "silent":
            await trio.sleep_forever()
        yield peers[addr]

    return ServiceStore(dial)


async def receive(store: ServiceStore, pieces: Iterable[bytes]) -> None:
    """Have a store take the next pieces."""
    send, received = trio.open_memory_channel[bytes](math.inf)
    for piece in pieces:
        send.send_nowait(piece)
    send.close()
    await store.receive("key", store.expect("key", SIZES), received)


def run(main: Any) -> None:
    async def bounded() -> None:
        with trio.fail_after(3600):
            await main()

    trio.run(bounded, clock=jumping_clock())


BUFFERS = [os.urandom(2 * PIECE_BYTES + 5), b"", os.urandom(100)]
PARTS: list[bytes] = []
PICKLE = pickle.dumps(
    [pickle.PickleBuffer(bytearray(each)) for each in BUFFERS],
    5,
    buffer_callback=lambda buffer: PARTS.append(bytes(buffer)),
)
SIZES = [len(PICKLE), *map(len, PARTS)]
PIECES = [PICKLE, PARTS[0][:PIECE_BYTES], PARTS[0][PIECE_BYTES:], PARTS[2]]


def test_service_that_came_in_pieces_is_loaded_as_its_callers_own() -> None:
    async def main() -> None:
        store = new_store()
        assert store.expect("key", SIZES) == 0
        await receive(store, PIECES[:2])
        assert store.expect("key", SIZES) == len(PICKLE) + PIECE_BYTES
        await receive(store, PIECES[2:])
        assert store.expect("key", SIZES) == sum(SIZES)
        first, second = store.load("key"), store.load("key")
        first[0][:3] = b"new"
        store.drop()
        assert [bytes(each) for each in second] == BUFFERS
        assert bytes(first[0]) == b"new" + BUFFERS[0][3:]
        with pytest.raises(UsageError, match="no such service"):
            store.load("key")

    run(main)


def test_machine_passes_on_what_still_comes_in_and_the_next_one_too() -> None:
    async def main() -> None:
        one = new_store()
        two = new_store(one=Peer(one))
        three = new_store(two=Peer(two))
        for store in (one, two, three):
            store.expect("key", SIZES)
        ends: list[str] = []

        async def fetch(store: ServiceStore, addr: str) -> None:
            ends.append(await store.fetch("key", addr))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, three, "two")
            nursery.start_soon(fetch, two, "one")
            for piece in PIECES:
                await trio.sleep(20)  # longer than a machine may be silent
                assert ends == []
                await receive(one, [piece])
        assert ends == ["", ""]
        assert [bytes(each) for each in three.load("key")] == BUFFERS

    run(main)


def test_fetch_that_fails_says_why_and_keeps_what_has_come() -> None:
    async def main() -> None:
        one, other = new_store(), new_store()
        two = new_store(one=Peer(one, ends_after=2), other=Peer(other))
        for store in (one, two, other):
            store.expect("key", SIZES)
        await receive(one, PIECES)
        assert await two.fetch("key", "one") == "OSError: the connection ended"
        assert await two.fetch("key", "nowhere") == "KeyError: 'nowhere'"
        assert await two.fetch("key", "silent") == "it does not answer"
        assert two.expect("key", SIZES) == len(PICKLE) + PIECE_BYTES
        await receive(other, PIECES)
        assert await two.fetch("key", "other") == ""
        assert [bytes(each) for each in two.load("key")] == BUFFERS

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="only there has memory such a limit")
def test_machine_without_room_says_so_and_does_not_blame_the_other() -> None:
    async def main() -> None:
        one = new_store()
        peer = Peer(one)
        two = new_store(one=peer)
        for store in (one, two):
            store.expect("key", SIZES)
        await receive(one, PIECES)
        with file_size_limit(PIECE_BYTES), pytest.raises(MemoryError, match="no room"):
            await two.fetch("key", "one")
        await peer.opened.aclose()
        with file_size_limit(PIECE_BYTES), pytest.raises(MemoryError, match="no room"):
            await receive(two, [BUFFERS[0]])
        assert await two.fetch("key", "one") == ""

    run(main)


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Have this process write no larger files, also in memory."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_transfer_that_was_given_up_adds_nothing_to_the_next_one() -> None:
    async def main() -> None:
        store = new_store()
        store.expect("key", SIZES)
        send, pieces = trio.open_memory_channel[bytes](1)
        refusals: list[str] = []

        async def receive_first() -> None:
            try:
                await store.receive("key", 0, pieces)
            except UsageError as exc:
                refusals.append(str(exc))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_first)
            await trio.testing.wait_all_tasks_blocked()
            assert store.expect("key", SIZES) == 0
            await send.send(b"late")
        await receive(store, PIECES)
        assert refusals == ["another transfer of this service has begun"]
        assert [bytes(each) for each in store.load("key")] == BUFFERS
        with pytest.raises(UsageError, match="this transfer is too late"):
            await store.receive("key", 0, pieces)
        with pytest.raises(UsageError, match="more came of a service than was announced"):
            await receive(store, [b"more"])

    run(main)
