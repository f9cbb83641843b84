"""Large buffers between processes of one host: in memory that both map, past the wire."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import pickle
import platform
import re
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import pytest
import trio
from outcome import Error

from bigmachine.errors import CallTimeout, ProtocolError, UsageError
from bigmachine.rpc import LaneLost, dial, http_client
from bigmachine.rpc._frames import (
    SHARED_BYTES,
    Kind,
    Payload,
    Shared,
    data_header,
    message_frame,
)
from bigmachine.rpc.client._pickled_call import pickle_call
from bigmachine.rpc.memory import _socket as memory_socket_module
from bigmachine.rpc.memory._switch import VARIABLE, environ, is_on
from tests.support.interruption import Interruption
from tests.support.memory_limit import memory_limit
from tests.support.waiting import eventually, until
from tests.unit.rpc.test_lanes import Client, client
from tests.unit.rpc.wires import DRIVER, MACHINE, Wire, call_over, memory_switch, run, serving, tls

if sys.platform != "linux":
    pytest.skip("only Linux has memfds", allow_module_level=True)

from bigmachine.rpc.client._memory import connect_memory
from bigmachine.rpc.memory import _mapping as memory_module
from bigmachine.rpc.memory._descriptors import Descriptors
from bigmachine.rpc.memory._mapping import MemoryFile, files_of
from bigmachine.rpc.memory._socket import MAX_FILES, MemorySocket
from bigmachine.rpc.memory._write import write_shared
from bigmachine.rpc.server._memory_listener import MAX_NAMELESS, MemoryListener
from bigmachine.rpc.transport._decoder import FrameDecoder

MIB = 1 << 20
STEP = 3 * MIB // 8 + 1  # of int64: no whole number of pages


@pytest.fixture(autouse=True)
def _as_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


class Service:
    def __init__(self) -> None:
        self.kept: Any = None

    def add(self, a: int, b: int) -> int:
        return a + b

    def echo(self, value: Any) -> Any:
        return value

    async def async_echo(self, value: Any) -> Any:
        return value

    def keep(self, value: Any) -> None:
        self.kept = value

    def same(self) -> Any:
        return self.kept

    def add_one(self, array: Any) -> Any:
        array += 1
        return array

    def items(self, count: int) -> Iterator[Any]:
        for n in range(count):
            yield np.full(STEP, n)

    async def async_items(self, count: int) -> AsyncIterator[Any]:
        for n in range(count):
            yield np.full(STEP, n)

    def firsts(self, arrays: Any) -> list[int]:
        return [int(array[-1]) for array in arrays]

    async def wait(self, value: Any) -> None:
        await trio.sleep_forever()


def left() -> list[str]:
    """The memory that this process maps, and has descriptors of."""
    if not left_uncollected():
        return []
    gc.collect()
    return left_uncollected()


def left_uncollected() -> list[str]:
    maps = Path("/proc/self/maps").read_text().splitlines()
    names = [line for line in maps if "memfd:bigmachine " in line]
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{number}"))
    return [name for name in names if "memfd:bigmachine " in name]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    # Threads free what is large, and end a moment after what they have done is known.
    until(lambda: not left())


def over_wire(wire: Wire) -> int:
    """How many bytes have gone over a wire, both ways."""
    channel = wire.connection._channel
    return channel.sent_bytes + channel.received_bytes


VALUES: dict[str, Callable[[], Any]] = {
    "array": lambda: np.arange(STEP),
    "several": lambda: [np.arange(STEP), "small", np.ones(50_000), np.zeros((3, STEP))],
    "bytes": lambda: b"abc" * MIB,
    "text": lambda: {"text": "é" * MIB},
}


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("several", "echo"),
        *[
            pytest.param(kind, method, marks=pytest.mark.long)
            for kind in VALUES
            for method in ("echo", "async_echo")
        ],
    ],
)
def test_same_results_arrive_by_memory_and_over_the_wire(kind: str, method: str) -> None:
    async def main() -> None:
        value, found = VALUES[kind](), []
        for shares_memory in (True, False):
            async with tls(Service(), shares_memory=shares_memory) as wire:
                found.append(await wire.call(method, value))
                assert (over_wire(wire) < SHARED_BYTES) is shares_memory
        for one in found:
            np.testing.assert_equal(one, value)

    run(main)


def kinds_of_buffers(folder: Path) -> dict[str, Any]:
    """What differs in its layout, in who may write it, or in how it is pickled."""
    array = np.arange(STEP)
    frozen = array.copy()
    frozen.flags.writeable = False
    array.tofile(folder / "array")
    return {
        "array": array,
        "read-only": frozen,
        "broadcast": np.broadcast_to(np.int64(3), (STEP,)),
        "memory-mapped": np.memmap(folder / "array", dtype=np.int64, mode="r"),
        "not contiguous": array[::2],
        "Fortran": np.asfortranarray(np.arange(4 * STEP).reshape(4, STEP)),
        "transposed": np.arange(4 * STEP).reshape(4, STEP).T,
        "structured": np.zeros(STEP, dtype=[("a", "<i4"), ("b", "<f8", (2,))]),
        "records": np.rec.array(np.ones(STEP, dtype=[("a", "<i4"), ("b", "<f8")])),
        "masked": np.ma.masked_less(array, 5),
        "empty": np.zeros((0, STEP)),
        "objects": np.array(["x" * MIB, None], dtype=object),
        "slice": array[5:-5],
        "bytes": b"x" * MIB,
        "bytearray": bytearray(b"x" * MIB),
        "text": "x" * (2 * MIB),
        "buffer of bytes": pickle.PickleBuffer(b"x" * MIB),
        "buffer of bytearray": pickle.PickleBuffer(bytearray(b"x" * MIB)),
    }


def described(value: Any) -> tuple[Any, ...]:
    if isinstance(value, np.ndarray):
        flags = value.flags
        return type(value), value.dtype, value.strides, flags.writeable, flags.aligned
    return (type(value),)


@pytest.mark.parametrize("method", ["echo", pytest.param("async_echo", marks=pytest.mark.long)])
def test_buffers_arrive_alike_by_memory_and_over_the_wire(method: str, tmp_path: Path) -> None:
    async def main() -> None:
        values, found = kinds_of_buffers(tmp_path), []
        for shares_memory in (True, False):
            async with tls(Service(), shares_memory=shares_memory) as wire:
                found.append({name: await wire.call(method, values[name]) for name in values})
        for name, value in values.items():
            by_memory, over_wire = found[0][name], found[1][name]
            assert described(by_memory) == described(over_wire), name
            expected = memoryview(value) if isinstance(value, pickle.PickleBuffer) else value
            np.testing.assert_equal(by_memory, expected, name)

    run(main)


@pytest.mark.parametrize("shares_memory", [True, pytest.param(False, marks=pytest.mark.long)])
def test_same_results_arrive_over_lanes_by_memory_or_not(shares_memory: bool) -> None:
    async def main() -> None:
        with memory_switch("1" if shares_memory else "0"):
            async with client(Service()) as it:
                await it.await_lane()
                array = np.arange(17 * MIB // 8 + 1)  # so large that several threads write it
                for _ in range(2):
                    found = await outcome(it, "echo", array)
                    assert np.array_equal(found, array)
                assert np.array_equal(await outcome(it, "add_one", array), array + 1)
                assert array[-1] == array.size - 1
                metrics = {metric.name: metric for metric in it.server.metrics()}
                assert metrics["bigmachine_received_bytes"].sum > 3 * array.nbytes
                assert metrics["bigmachine_sent_bytes"].sum > 2 * array.nbytes
                [lane] = it.lanes._all.values()
                sent = lane.channel._traffic.sent_bytes
                assert (sent < SHARED_BYTES) is shares_memory

    run(main)


async def outcome(it: Client, method: str, *args: Any) -> Any:
    """Call a method over a lane."""
    call = pickle_call(f"S.{method}", args, {})
    found = await trio.to_thread.run_sync(it.lanes.outcome, call)
    assert found is not None
    return found.unwrap()


def test_array_can_be_written_at_its_receiver_which_alone_sees_that() -> None:
    async def main() -> None:
        service = Service()
        async with tls(service, shares_memory=True) as wire:
            array = np.arange(STEP)
            await wire.call("keep", array)
            array[0] = 5
            assert service.kept[0] == 0
            given = await wire.call("echo", array)
            given[0] = 7
            assert (array[0], service.kept[0]) == (5, 0)
            [result, again] = [await wire.call("same") for _ in range(2)]
            result[:] = 9
            assert (service.kept[0], again[-1]) == (0, STEP - 1)
            assert over_wire(wire) < SHARED_BYTES

    run(main)


@pytest.mark.long
def test_array_is_freed_when_both_let_go() -> None:
    async def main() -> None:
        service = Service()
        async with tls(service, shares_memory=True) as wire:
            await wire.call("keep", np.arange(STEP))
            await eventually(lambda: len(left()) == 1)  # a mapping, and no descriptor
            service.kept = service.kept[10:20]
            assert len(left()) == 1
            service.kept = None
            assert left() == []

    run(main)


class Cycle:
    """What refers to itself, and reads its content when it is collected."""

    seen: ClassVar[list[int]] = []

    def __init__(self, content: Any) -> None:
        self.content = content
        self.itself = self

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Cycle, (pickle.PickleBuffer(self.content),)

    def __del__(self) -> None:
        self.seen.append(self.content[-1])


def test_memory_in_a_cycle_can_be_read_until_the_cycle_is_gone() -> None:
    async def main() -> None:
        async with tls(Service(), shares_memory=True) as wire:
            found = await wire.call("echo", Cycle(bytearray(b"x" * MIB)))
            gc.collect()
            Cycle.seen.clear()
            del found
            gc.collect()
            assert Cycle.seen == [ord("x")]

    run(main)


def test_result_is_kept_after_connection_has_ended() -> None:
    async def main() -> None:
        async with tls(Service(), shares_memory=True) as wire:
            found = await wire.call("echo", np.arange(STEP))
        assert int(found[-1]) == STEP - 1

    run(main)


@pytest.mark.parametrize("method", ["items", pytest.param("async_items", marks=pytest.mark.long)])
def test_items_of_streams_go_by_memory(method: str) -> None:
    async def main() -> None:
        async with tls(Service(), shares_memory=True) as wire:
            items = await wire.stream(method, 5)
            assert [int(item[-1]) async for item in items] == [0, 1, 2, 3, 4]
            arrays = (np.full(STEP, n) for n in range(5))
            assert await wire.call("firsts", arrays) == [0, 1, 2, 3, 4]
            assert over_wire(wire) < SHARED_BYTES

    run(main)


@pytest.mark.parametrize(
    "method",
    ["echo", *[pytest.param(name, marks=pytest.mark.long) for name in ("async_echo", "wait")]],
)
def test_cancelled_calls_leave_no_memory_at_either_end(method: str) -> None:
    async def main() -> None:
        async with tls(Service(), shares_memory=True) as wire:
            array = np.arange(STEP)
            for rounds in range(30):  # of the scheduler, until it is cancelled
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(wire.call, method, array)
                        for _ in range(rounds):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()
            assert np.array_equal(await wire.call("echo", array), array)
            await wire.check_nothing_is_left()
            await eventually(lambda: left() == [])
            assert over_wire(wire) < SHARED_BYTES

    run(main)


@pytest.mark.long
def test_timeout_while_an_array_is_written_for_a_lane_leaves_no_memory() -> None:
    async def main() -> None:
        async with client(Service()) as it:
            await it.await_lane()

            def time_left() -> float:
                raise CallTimeout("S.echo: it took too long")

            array = np.arange(3 * MIB)
            call = pickle_call("S.echo", (array,), {})
            with pytest.raises(CallTimeout):
                await trio.to_thread.run_sync(it.lanes.outcome, call, time_left)
            await eventually(lambda: left() == [])
            assert np.array_equal(await call_over(it.connection, "S.echo", (array,), {}), array)

    run(main)


def test_lane_whose_machine_announces_other_memory_than_it_sends_is_lost() -> None:
    async def main() -> None:
        async with client(Service()) as it:
            await it.await_lane()
            [lane] = it.lanes._all.values()
            assert lane.channel.memory is not None
            lane.channel.memory._taken += 1  # as if the machine had counted wrong
            call = pickle_call("S.echo", (np.arange(STEP),), {})
            lost = await trio.to_thread.run_sync(it.lanes.outcome, call)
            assert isinstance(lost, Error)
            assert isinstance(lost.error, LaneLost)
            assert "was announced in memory" in str(lost.error)

    run(main)


def test_sockets_that_share_memory_are_closed_with_their_connection() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        async with serving(Service()) as (_, address), http_client(DRIVER) as http:
            gc.collect()  # what tests before have left
            assert memory_socket_module.keeps_descriptors()  # which the first connection would open
            before = descriptors()
            for _ in range(3):
                async with dial(http, f"https://{address}#{MACHINE.name}"):
                    assert descriptors() >= before + 3
                await eventually(lambda: descriptors() == before + 1)  # the machine listens on

    run(main)


def test_connection_that_ends_with_calls_in_flight_leaves_no_memory() -> None:
    async def main() -> None:
        async with tls(Service(), shares_memory=True) as wire:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(suppressed, wire, "wait", np.arange(STEP))
                await eventually(left)
                wire.cut()
            await eventually(lambda: left() == [])

    async def suppressed(wire: Wire, *call: Any) -> None:
        with contextlib.suppress(Exception):
            await wire.call(*call)

    run(main)


# -- without memory ------------------------------------------------------------


@contextlib.contextmanager
def no_descriptors(spare: int = 0) -> Iterator[None]:
    """Have no descriptor left in this process, or so many."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    filling = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                filling.append(os.dup(0))
        for _ in range(spare):
            os.close(filling.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in filling:
            os.close(number)


@pytest.mark.parametrize("size", [STEP, pytest.param(3 * MIB, marks=pytest.mark.long)])
def test_call_goes_over_the_wire_if_no_descriptor_is_left(size: int) -> None:
    async def main() -> None:
        async with client(Service()) as it:
            await it.await_lane()
            array = np.arange(size)
            await call_over(it.connection, "S.echo", (array,), {})
            with no_descriptors():
                assert np.array_equal(await outcome(it, "echo", array), array)
                found = await call_over(it.connection, "S.echo", (array,), {})
                assert np.array_equal(found, array)
                assert found.flags.writeable

    run(main)


def test_switch_is_on_or_off_and_on_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_on()
    assert environ() == {}
    monkeypatch.setenv(VARIABLE, "")
    assert is_on()
    assert environ() == {}
    for value in ("0", "off", "False", "no", "1", "on", "TRUE", "yes"):
        monkeypatch.setenv(VARIABLE, value)
        assert environ() == {VARIABLE: value}
        assert is_on() is (value in ("1", "on", "TRUE", "yes"))
    for value in ("2", "offf"):
        monkeypatch.setenv(VARIABLE, value)
        with pytest.raises(UsageError, match=f"{VARIABLE}: must be on or off, not '{value}'"):
            environ()


# -- one end of a socket -------------------------------------------------------


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, MemorySocket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setblocking(False)
    memory = MemorySocket(lambda: theirs)
    with ours:
        yield ours, memory
        memory.close()
        theirs.close()


def payload(*sizes: int) -> Payload:
    buffers = [memoryview(bytes([n + 1]) * size) for n, size in enumerate(sizes)]
    return write_shared(Payload((b"pickle",), buffers, 6, 6 + sum(sizes)))


def memfd(size: int, *, is_sealed: bool = True) -> MemoryFile:
    file = MemoryFile()
    file.write(bytes(size))
    if is_sealed:
        file.seal()
    return file


@contextlib.contextmanager
def plain_file() -> Iterator[int]:
    number = os.open("/tmp", os.O_TMPFILE | os.O_RDWR)
    os.truncate(number, MIB)
    yield number
    os.close(number)


NUMBER_0, NUMBER_1 = bytes(8), bytes([1, *bytes(7)])
BREACHES: dict[str, Callable[[socket.socket], object]] = {
    "nothing": lambda sock: None,
    "its end": lambda sock: sock.close(),
    "no descriptor": lambda sock: sock.send(NUMBER_0),
    "another number": lambda sock: send(sock, memfd(MIB), number=NUMBER_1),
    "too long a number": lambda sock: send(sock, memfd(MIB), number=NUMBER_0 + b"x"),
    "memory that is not sealed": lambda sock: send(sock, memfd(MIB, is_sealed=False)),
    "memory that is too small": lambda sock: send(sock, memfd(MIB - 1)),
    "memory that is too large": lambda sock: send(sock, memfd(MIB + 1)),
    "two that are too large": lambda sock: send(sock, memfd(MIB), memfd(1)),
    "parts of pages": lambda sock: send(sock, memfd(MIB - 5), memfd(5)),
    "an empty part": lambda sock: send(sock, memfd(MIB), memfd(0)),
    "too many parts": lambda sock: send(sock, *[memfd(MIB // 8) for _ in range(8)]),
    "a device": lambda sock: send_device(sock),
    "a socket": lambda sock: send(sock, sock),
}


def send(sock: socket.socket, *files: Any, number: bytes = NUMBER_0) -> None:
    socket.send_fds(sock, [number], [file.fileno() for file in files])
    for file in files:
        if isinstance(file, MemoryFile):
            file.close()


def send_device(sock: socket.socket) -> None:
    with open("/dev/null") as device:
        send(sock, device)


def announced(size: int, *, number: int = 0) -> bytes:
    """A message with one buffer in memory."""
    content = Payload((b"",), (memoryview(bytes(size)),), 0, size)
    return message_frame(Kind.REPLY, 1, content, shared=Shared(number, [0]))[0]


def receive(decoder: FrameDecoder, data: bytes) -> list[Any]:
    decoder.buffer()[: len(data)] = data
    return [*decoder.frames(len(data))]


@pytest.mark.parametrize("breach", BREACHES)
def test_peer_that_announces_a_buffer_and_sends_otherwise_breaks_protocol(breach: str) -> None:
    with pair() as (sock, memory):
        BREACHES[breach](sock)
        with pytest.raises(ProtocolError, match="buffer 0 "):
            receive(FrameDecoder(memory=memory), announced(MIB))


def test_file_that_is_no_memory_is_refused() -> None:
    with pair() as (sock, memory), plain_file() as number:
        socket.send_fds(sock, [NUMBER_0], [number])
        with pytest.raises(ProtocolError, match="can't be taken"):
            receive(FrameDecoder(memory=memory), announced(MIB))


def test_honest_buffer_is_taken_and_its_number_counts() -> None:
    with pair() as (sock, memory):
        decoder = FrameDecoder(memory=memory)
        for n in range(3):
            send(sock, memfd(MIB), number=bytes([n, *bytes(7)]))
        for n in (0, 1):
            [frame] = receive(decoder, announced(MIB, number=n))
            assert frame.buffers[0] == bytes(MIB)
            assert frame.size == MIB
        with pytest.raises(ProtocolError, match="buffer 1 was announced"):
            receive(decoder, announced(MIB, number=1))
        del frame


def test_message_without_memory_to_map_its_buffers_ends_no_other() -> None:
    with pair() as (sock, memory):
        decoder = FrameDecoder(memory=memory)
        for n, size in enumerate((24 * MIB, MIB, MIB)):
            send(sock, memfd(size), number=bytes([n, *bytes(7)]))
        buffers = [memoryview(bytes(size)) for size in (24 * MIB, 10, MIB)]
        content = Payload((b"",), buffers, 0, sum(map(len, buffers)))
        frame, _ = message_frame(Kind.CALL, 1, content, shared=Shared(0, [0, 2]))
        with memory_limit(4 * MIB):
            [message] = receive(decoder, frame + data_header(1, 10) + bytes(10))
        with pytest.raises(MemoryError, match=f"no memory for {content.size:,} bytes"):
            pickle.loads(message.pickle, buffers=message.buffers)
        [message] = receive(decoder, announced(MIB, number=2))
        assert message.buffers[0] == bytes(MIB)
        del message


def test_buffers_beyond_so_many_mappings_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "MAX_MAPPINGS", 2)
    with pair() as (sock, memory):
        receiver = MemorySocket(lambda: sock)
        received = []
        for n, size in enumerate((MIB, 2 * MIB, MIB + 5, 20 * MIB + 5)):
            content = np.arange(size, dtype=np.uint8)
            memory.send(write_shared(Payload((b"",), [memoryview(content)], 0, size)))
            received.append(receiver.take(n, size))
            assert np.array_equal(received[n], content)
            assert not received[n].readonly
        until(lambda: len(left()) == 2)  # a thread frees what was large, and is sent
        received = received[3:]
        until(lambda: left() == [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_process_of_another_user_is_no_peer() -> None:
    with offering() as (_, channel, offer):
        assert channel.memory is not None
        sent, reported = os.pipe()
        if (child := os.fork()) == 0:
            with contextlib.suppress(BaseException):
                os.setuid(65534)
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                sock.connect("\0" + offer.split()[0])
                sock.send(offer.split()[1].encode())  # even if it knows the secret
                os.write(reported, str(connect_memory(offer)).encode())
                with contextlib.suppress(ConnectionError):
                    sock.recv(1)  # until it is closed
                os._exit(0)
            os._exit(1)
        assert os.read(sent, 100) == b"None"
        assert not channel.memory.has_room
        assert os.waitpid(child, 0)[1] == 0
        right = connect_memory(offer)
        assert right is not None
        assert channel.memory.has_room
        right.close()
        os.close(sent)
        os.close(reported)


def test_buffer_over_limit_or_without_memory_to_share_is_refused_untaken() -> None:
    with pair() as (sock, memory):
        send(sock, memfd(MIB))
        with pytest.raises(ProtocolError, match="the limit is 1000"):
            receive(FrameDecoder(memory=memory, limit_bytes=1000), announced(MIB))
        with pytest.raises(ProtocolError, match="memory that is not shared"):
            receive(FrameDecoder(), announced(MIB))
        with pytest.raises(ProtocolError, match="have no number"):
            receive(FrameDecoder(memory=memory), announced_without_number())
        assert memory.received_bytes == 0


def announced_without_number() -> bytes:
    header = bytearray(announced(MIB))
    header[0] = 8  # the length of what follows
    return bytes(header[: 16 + 8])


def test_buffers_of_an_unwanted_message_are_taken_too() -> None:
    with pair() as (sock, memory):
        decoder = FrameDecoder(memory=memory, is_wanted=lambda stream: False)
        send(sock, memfd(MIB))
        assert receive(decoder, announced(MIB)) == []
        assert memory.received_bytes == MIB
        assert left() == []


def test_sender_is_ahead_by_a_bounded_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_socket_module, "MAX_UNTAKEN_BYTES", 4 * MIB)
    with pair() as (sock, memory):
        assert memory.send(payload(5 * MIB)) == Shared(0, [0])  # one can always be sent
        assert not memory.has_room
        assert memory.send(payload(MIB)) is None
        for number in socket.recv_fds(sock, 8, MAX_FILES)[1]:
            os.close(number)
        assert memory.has_room
        assert memory.send(payload(MIB, 9, 2 * MIB, 3 * MIB)) == Shared(1, [0, 2])
        assert memory.sent_bytes == 8 * MIB


def test_descriptors_beyond_what_the_kernel_queues_go_over_the_wire() -> None:
    with pair() as (_, memory):
        memory_limit = 0
        while memory.send(payload(MIB)) is not None:
            memory_limit += 1
            assert memory_limit < 65
        assert memory_limit == 64  # MAX_UNTAKEN_BYTES


def test_buffer_is_received_if_no_descriptor_is_left() -> None:
    with pair() as (sock, memory):
        receiver = MemorySocket(lambda: sock)
        assert memory_socket_module.keeps_descriptors()  # as both ends do before they share
        memory.send(payload(2 * MIB, MIB))
        with no_descriptors():
            assert bytes(receiver.take(0, 2 * MIB)) == b"\1" * (2 * MIB)
            assert bytes(receiver.take(1, MIB)) == b"\2" * MIB


def test_descriptors_that_are_interrupted_before_there_are_any_end_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    Descriptors.__new__(Descriptors)  # as when a signal handler raises in its __init__
    assert not ignored


def test_buffer_is_received_while_a_thread_that_receives_another_is_interrupted() -> None:
    with pair() as (sock, memory), pair() as (other_sock, other_memory):
        receivers = [MemorySocket(lambda: sock), MemorySocket(lambda: other_sock)]
        assert all(receiver.has_room for receiver in receivers)
        memory.send(payload(MIB))
        other_memory.send(payload(MIB))
        found: list[bytes] = []
        thread = threading.Thread(
            target=lambda: found.append(bytes(receivers[1].take(0, MIB))), daemon=True
        )

        def as_a_signal_handler(frame: FrameType, event: str, arg: object) -> None:
            if frame.f_code is memory_module.map_received.__code__:
                sys.settrace(None)
                thread.start()
                thread.join(60)
                assert found == [b"\1" * MIB]

        with no_descriptors():
            sys.settrace(as_a_signal_handler)
            try:
                assert bytes(receivers[0].take(0, MIB)) == b"\1" * MIB
            finally:
                sys.settrace(None)
        assert len(found) == 1


SEALING_IN_VAIN = """
import ctypes, platform, struct
from bigmachine.rpc._frames import Payload
from bigmachine.rpc.memory._write import write_shared

fcntl, add_seals = {"x86_64": 72, "aarch64": 25}[platform.machine()], 1033
program = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in [
        (0x20, 0, 0, 0),  # load the call's number
        (0x15, 0, 3, fcntl),
        (0x20, 0, 0, 24),  # load its second argument
        (0x15, 0, 1, add_seals),
        (0x06, 0, 0, 0x00050000),  # do nothing, and return 0
        (0x06, 0, 0, 0x7FFF0000),  # as usual
    ]
)
buffer = ctypes.create_string_buffer(program)
filters = ctypes.create_string_buffer(struct.pack("HP", 6, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
if libc.prctl(22, 2, filters, 0, 0) != 0:  # PR_SET_SECCOMP
    print("impossible")
else:
    buffers = [memoryview(bytes(size << 20)) for size in (1, 32)]
    content = Payload((b"pickle",), buffers, 6, 6 + (33 << 20))
    print([a is b for a, b in zip(write_shared(content).buffers, buffers)])
"""


@pytest.mark.long
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="numbers of calls")
def test_buffers_go_over_the_wire_where_sealing_does_nothing() -> None:
    command = [sys.executable, "-c", SEALING_IN_VAIN]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if found.stdout == "impossible\n":
        pytest.skip("this host has no seccomp")
    assert found.stdout == "[True, True]\n", found.stderr


def test_forked_child_has_no_descriptor_of_memory() -> None:
    with pair() as (_, memory):
        file = memfd(MIB)
        content = payload(MIB)
        numbers = [file.fileno(), *[f.fileno() for f in files_of(content.buffers[0])]]
        if (child := os.fork()) == 0:
            names = [os.readlink(f"/proc/self/fd/{number}") for number in numbers]
            os._exit(0 if set(names) == {"/dev/null"} else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert memory.send(content) is not None


class Interrupting(Interruption):
    """It spares destructors: Python ignores what these raise, so they can't be resumed."""

    def __call__(self, frame: FrameType, event: str, arg: object) -> Interruption | None:
        caller: FrameType | None = frame
        while caller is not None and caller.f_code.co_name != "__del__":
            caller = caller.f_back
        return super().__call__(frame, event, arg) if caller is None else None


def interruptions(action: Callable[[], object]) -> Iterator[None]:
    """Interrupt ``action`` at one instruction after the other, until it ends before that."""
    for instruction in itertools.count(1):
        sys.settrace(Interrupting(instruction, last=never))
        try:
            action()
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            sys.settrace(None)
        yield


def never() -> None:
    """What no action calls."""


@pytest.mark.long
def test_ctrl_c_at_any_moment_of_sending_or_taking_a_buffer_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # pytest's keeps the frames
    content = Payload((b"pickle",), [memoryview(bytes(MIB))], 6, 6 + MIB)

    def send() -> None:
        with pair() as (_, memory):
            assert memory.send(write_shared(content)) is not None

    for _ in interruptions(send):
        assert left() == []

    def take() -> None:
        with pair() as (sock, memory):
            trace = sys.gettrace()
            sys.settrace(None)
            memory.send(write_shared(content))
            receiver = MemorySocket(lambda: sock)
            sys.settrace(trace)
            receiver.take(0, MIB)

    for _ in interruptions(take):
        assert left() == []


# -- the listener ----------------------------------------------------------------


def tcp_pair(host: str) -> tuple[socket.socket, socket.socket]:
    with socket.create_server((host, 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), source_address=("127.0.0.1", 0))
        return ours, listener.accept()[0]


class Offering:
    """What has a socket, like a `TlsChannel`, and is offered memory."""

    memory: MemorySocket | None = None

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock


@contextlib.contextmanager
def offering(host: str = "127.0.0.1") -> Iterator[tuple[MemoryListener, Offering, str]]:
    listener = MemoryListener()
    ours, theirs = tcp_pair(host)
    with ours, theirs:
        channel = Offering(theirs)
        yield listener, channel, listener.offer(channel)  # type: ignore[arg-type]
        if channel.memory is not None:
            channel.memory.close()
        listener.close()


def test_memory_is_offered_to_peers_of_this_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with offering() as (_, channel, offer):
        assert re.fullmatch(r"bigmachine-[0-9a-f]{32} [0-9a-f]{32}", offer)
        assert channel.memory is not None
    with offering("127.0.0.2") as (_, channel, offer):
        assert (channel.memory, offer) == (None, "")
    monkeypatch.setenv(VARIABLE, "0")
    with offering() as (_, channel, offer):
        assert (channel.memory, offer) == (None, "")


def test_process_without_spare_descriptors_neither_offers_nor_accepts_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with offering() as (listener, channel, offer):
        monkeypatch.setattr(memory_socket_module, "_spare", [])
        with no_descriptors(spare=1):
            assert listener.offer(channel) == ""  # type: ignore[arg-type]
            assert connect_memory(offer) is None
        found = connect_memory(offer)
        assert found is not None
        found.close()


def test_offer_is_for_who_knows_its_secret_and_only_once() -> None:
    with offering() as (_, channel, offer):
        assert channel.memory is not None
        name = offer.split()[0]
        wrong = connect_memory(f"{name} {'0' * 32}")
        assert wrong is not None
        assert wrong.has_room  # for all it knows
        assert not channel.memory.has_room
        assert wrong.send(payload(MIB)) is None  # it was closed
        right, late = connect_memory(offer), connect_memory(offer)
        assert right is not None
        assert late is not None
        assert right.send(payload(MIB)) == Shared(0, [0])  # before it was accepted
        assert bytes(channel.memory.take(0, MIB)) == b"\1" * MIB
        assert late.send(payload(MIB)) is None  # it was closed with the next look
        for each in (wrong, right, late):
            each.close()


@pytest.mark.parametrize(
    "offer",
    ["", "x", f"bigmachine-{'0' * 32} {'0' * 32}", f"@other-{'0' * 32} {'0' * 32}", "a b c"],
)
def test_offer_that_leads_nowhere_is_not_taken(offer: str) -> None:
    assert connect_memory(offer) is None


def test_those_who_connect_and_say_nothing_are_bounded() -> None:
    with offering() as (listener, channel, offer), contextlib.ExitStack() as stack:
        name = offer.split()[0]
        silent = []
        for _ in range(MAX_NAMELESS + 5):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            sock.connect("\0" + name)
            silent.append(sock)
        right = connect_memory(offer)
        assert right is not None
        assert channel.memory is not None
        assert channel.memory.has_room
        assert len(listener._nameless) == MAX_NAMELESS
        assert silent[0].recv(1) == b""  # the oldest
        right.close()
