"""Calls over one connection: in memory, in lockstep, and over real TLS."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import trio
import trio.testing

from bigmachine.errors import BigmachineError, TransportError, UsageError
from bigmachine.rpc import ConnectionLost, FrameConnection, dial, http_client
from bigmachine.rpc._frames import (
    CHUNK_BYTES,
    INLINE_BYTES,
    Kind,
    Payload,
    control_frame,
    message_frame,
)
from bigmachine.rpc._payload import dumps
from bigmachine.rpc.loop._tasks import TaskPool
from bigmachine.rpc.server._connection import ServingConnection
from bigmachine.rpc.server.pools._pools import Pools
from bigmachine.rpc.transport._channel import Channel, StreamChannel
from bigmachine.rpc.transport._decoder import FrameDecoder
from bigmachine.rpc.transport._outbox import Outbox
from tests.support.memory_limit import memory_limit
from tests.support.waiting import eventually
from tests.unit.rpc.wires import (
    DRIVER,
    MACHINE,
    WIRES,
    Open,
    call_over,
    decoded,
    lockstep,
    memory,
    run,
    services,
    serving,
    thread_pool,
    tls,
)


class Basics:
    def __init__(self) -> None:
        self.thread: str | None = None

    def add(self, a: int, b: int = 10) -> int:
        self.thread = threading.current_thread().name
        return a + b

    async def async_add(self, a: int, b: int = 10) -> int:
        self.thread = threading.current_thread().name
        await trio.lowlevel.checkpoint()
        return a + b

    async def echo(self, value: Any) -> Any:
        return value

    def thread_echo(self, value: Any) -> Any:
        return value

    async def ones(self, size: int) -> Any:
        return np.ones(size, np.uint8)

    async def nbytes(self, value: Any) -> int:
        return int(value.nbytes)


def sent_event(channel: Channel, size: float) -> trio.Event:
    """Return an event that is set when ``size`` bytes and more were sent."""
    reached, left, send_nowait = trio.Event(), size, channel.send_nowait

    def count(*pieces: Any) -> None:
        nonlocal left
        left -= sum(map(len, pieces))
        if left < 0:
            reached.set()
        send_nowait(*pieces)

    channel.send_nowait = count  # type: ignore[method-assign]
    return reached


def test_method_is_called_with_its_arguments(wire: Open) -> None:
    async def main() -> None:
        service = Basics()
        async with wire(service) as w:
            assert await w.call("add", 1) == 11
            assert service.thread is not None
            assert service.thread.startswith("bigmachine-")
            assert await w.call("add", 1, b=2) == 3
            assert await w.call("async_add", 1) == 11
            assert service.thread == threading.current_thread().name
            assert await w.call("async_add", a=1, b=3) == 4

    run(main)


def test_values_of_any_size_travel_both_ways(wire: Open) -> None:
    async def main() -> None:
        async with wire(Basics()) as w:
            for border in (0, INLINE_BYTES, CHUNK_BYTES):
                for size in {max(0, border + delta) for delta in (-100, -1, 0, 1, 100)}:
                    array = np.arange(size) % 256
                    for method in ("echo", "thread_echo"):
                        assert await w.call(method, b"x" * size) == b"x" * size
                        assert (await w.call(method, array) == array).all()

    run(main)


def test_thousands_of_interleaved_calls_return_their_own_results(wire: Open) -> None:
    async def main() -> None:
        results: dict[int, int] = {}
        async with wire(Basics()) as w:

            async def caller(first: int) -> None:
                for i in range(first, 2000, 50):
                    results[i] = await w.call("async_add" if i % 2 else "add", i)

            async with trio.open_nursery() as nursery:
                for first in range(50):
                    nursery.start_soon(caller, first)
        assert results == {i: i + 10 for i in range(2000)}

    run(main)


def test_all_async_calls_run_concurrently(wire: Open) -> None:
    class Rendezvous:
        def __init__(self) -> None:
            self.here = 0
            self.all_here = trio.Event()

        async def meet(self) -> int:
            self.here += 1
            if self.here == 300:  # more than the task pool keeps
                self.all_here.set()
            await self.all_here.wait()
            return self.here

    async def main() -> None:
        async with wire(Rendezvous()) as w:
            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    for _ in range(300):
                        nursery.start_soon(w.call, "meet")

    run(main)


@pytest.mark.parametrize("wire", [lockstep, tls])  # memory takes all at once
@pytest.mark.parametrize("direction", ["up", "down"])
def test_small_call_does_not_wait_for_large_array(wire: Open, direction: str) -> None:
    async def main() -> None:
        size = 64 * CHUNK_BYTES
        async with wire(Basics()) as w:
            assert w.serving is not None
            order: list[str] = []

            async def transfer() -> None:
                if direction == "up":
                    assert await w.call("nbytes", np.ones(size, np.uint8)) == size
                else:
                    assert (await w.call("ones", size)).nbytes == size
                order.append("large")

            end = w.connection if direction == "up" else w.serving
            under_way = sent_event(end._channel, 6 * CHUNK_BYTES)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(transfer)
                await under_way.wait()
                for _ in range(5):
                    await w.call("echo", None)
                    order.append("null")
        # 58 chunks are still to be sent, so the ten frames of the null calls go in between.
        assert order == ["null"] * 5 + ["large"]

    run(main)


def test_small_frame_waits_for_at_most_one_chunk() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.lockstep_stream_pair()
        outbox = Outbox(StreamChannel(ours))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run)
            large = memoryview(bytes(10 * CHUNK_BYTES))
            for stream in (1, 2):
                outbox.post_message(Kind.ITEM, stream, Payload([b""], [large], 0, large.nbytes))
            await trio.testing.wait_all_tasks_blocked()
            outbox.post(control_frame(Kind.END, 3))
            decoder = FrameDecoder()
            received = 0
            frames: list[Any] = []
            while not frames:
                data = await theirs.receive_some()
                received += len(data)
                frames += decoded(decoder, data)
            assert received <= CHUNK_BYTES + 3 * 16 + 8
            nursery.cancel_scope.cancel()

    run(main)


# -- names ---------------------------------------------------------------------


class Names:
    value = 3
    evaluated: bool = False

    @property
    def prop(self) -> Any:
        Names.evaluated = True
        return print

    @functools.cached_property
    def cached(self) -> Any:
        Names.evaluated = True
        return print

    def setup(self, session: Any) -> None:
        raise AssertionError("called remotely")

    def _private(self) -> None:
        raise AssertionError("called remotely")

    @staticmethod
    def static() -> str:
        return "static"

    @classmethod
    def class_(cls) -> str:
        return cls.__name__

    def method(self, how: str = "method") -> str:
        return how

    partial = functools.partialmethod(method, "partial")


def test_only_public_methods_can_be_called(wire: Open) -> None:
    async def main() -> None:
        async with wire(Names()) as w:
            for name, result in [
                ("static", "static"),
                ("class_", "Names"),
                ("method", "method"),
                ("partial", "partial"),
            ]:
                assert await w.call(name) == result
            for name in ("value", "prop", "cached", "setup", "_private", "__init__", "", "a.b"):
                with pytest.raises(UsageError, match="there are: class_, method, partial, static$"):
                    await w.call(name)
        assert not Names.evaluated

    run(main)


def test_error_for_unknown_name_lists_available_names(wire: Open) -> None:
    async def main() -> None:
        async with wire(Basics()) as w:
            with pytest.raises(UsageError) as error:
                await w.call("asinc_add")
            assert "no method 'asinc_add'" in str(error.value)
            assert "did you mean 'async_add'? There are: add, async_add" in str(error.value)
            # No method raised, so there is no remote traceback.
            assert error.value.__cause__ is None
            for name in ("s.add", "S", "", "T.add", "Sx"):
                with pytest.raises(UsageError, match="(?i)there are"):
                    await call_over(w.connection, name, (), {})
            with pytest.raises(UsageError, match="no service 'SS' here; did you mean 'S'"):
                await call_over(w.connection, "SS.add", (), {})

    run(main)


def test_object_of_any_class_can_be_a_service(wire: Open) -> None:
    async def main() -> None:
        async with wire([3, 1, 2]) as w:
            await w.call("sort")
            assert await w.call("index", 3) == 2
        async with wire({"a": 1}) as w:
            assert await w.call("get", "a") == 1

    run(main)


# -- cancellation --------------------------------------------------------------


class Waiting:
    def __init__(self) -> None:
        self.began = trio.Event()
        self.cancelled = trio.Event()
        self.release = threading.Event()
        self.running = threading.Semaphore(0)
        self.ran: list[int] = []

    async def forever(self, _: object = None) -> None:
        self.began.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled.set()
            raise

    def block(self, number: int) -> int:
        self.ran.append(number)
        self.running.release()
        self.release.wait(60)
        return number

    async def echo(self, value: Any) -> Any:
        return value

    async def nbytes(self, value: Any) -> int:
        return int(value.nbytes)

    async def ones(self, size: int) -> Any:
        return np.ones(size, np.uint8)


async def cancelled_once(began: trio.Event, function: Callable[..., Any], *args: Any) -> None:
    """Start a call; cancel it when ``began`` is set."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(function, *args)
        await began.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(sys.platform != "linux", reason="only there has memory such a limit")
def test_call_without_memory_for_its_arguments_is_refused_and_ends_no_other() -> None:
    async def main() -> None:
        service = Waiting()
        # More than what earlier tests in this process may have left free.
        array = np.zeros(96 << 20, np.uint8)
        async with tls(service) as wire, trio.open_nursery() as nursery:
            nursery.start_soon(wire.call, "forever")
            await service.began.wait()
            # The limit is of this process, which has both ends.
            refused = pytest.raises(UsageError, match=r"S\.nbytes: the machine has no memory")
            with memory_limit(20 << 20), refused:
                await wire.call("nbytes", array)
            array = array[: 2 << 20]
            assert await wire.call("nbytes", array) == array.nbytes
            assert not service.cancelled.is_set()
            nursery.cancel_scope.cancel()

    run(main)


def test_call_of_machine_that_ends_is_lost_and_raises_nothing_of_it() -> None:
    async def main() -> None:
        async def call(http: httpx.AsyncClient, address: str) -> None:
            async with (
                dial(http, f"https://{address}#{MACHINE.name}") as connection,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(connection.run)
                with pytest.raises(ConnectionLost):
                    await call_over(connection, "S.forever", (), {})
                nursery.cancel_scope.cancel()

        async with http_client(DRIVER) as http, trio.open_nursery() as driver:
            for _ in range(10):  # the tasks of a machine end in any order
                service = Waiting()
                async with serving(service) as (_, address):
                    driver.start_soon(call, http, address)
                    await service.began.wait()

    run(main)


def test_cancelling_call_cancels_its_handler(wire: Open) -> None:
    async def main() -> None:
        service = Waiting()
        async with wire(service) as w:
            await cancelled_once(service.began, w.call, "forever")
            await service.cancelled.wait()
            assert await w.call("echo", 1) == 1

    run(main)


def test_cancelling_call_ends_all_tasks_of_its_handler(wire: Open) -> None:
    class Nested:
        def __init__(self) -> None:
            self.began = trio.Event()
            self.ended = trio.Event()

        async def forever(self) -> None:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    nursery.start_soon(trio.sleep_forever)
                    self.began.set()
            finally:
                self.ended.set()

        async def one(self) -> int:
            return 1

    async def main() -> None:
        service = Nested()
        async with wire(service) as w:
            await cancelled_once(service.began, w.call, "forever")
            await service.ended.wait()
            assert await w.call("one") == 1

    run(main)


def test_queued_call_does_not_run_after_its_cancellation(wire: Open) -> None:
    async def main() -> None:
        service = Waiting()
        async with wire(service, maxprocs=1) as w, trio.open_nursery() as nursery:
            nursery.start_soon(w.call, "block", 1)
            await trio.to_thread.run_sync(service.running.acquire)
            with trio.CancelScope() as scope:

                async def cancel() -> None:
                    await w.call("echo", None)  # by now the machine has the call below
                    scope.cancel()

                nursery.start_soon(cancel)
                await w.call("block", 2)
            await w.call("echo", None)  # by now the machine has the cancellation
            service.release.set()
            assert await w.call("block", 3) == 3
            assert service.ran == [1, 3]

    run(main)


def test_call_cancelled_while_running_does_not_disturb_next_call(
    wire: Open,
) -> None:
    async def main() -> None:
        service = Waiting()
        async with wire(service, maxprocs=1) as w:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.call, "block", 1)
                await trio.to_thread.run_sync(service.running.acquire)
                nursery.cancel_scope.cancel()
            service.release.set()
            assert await w.call("block", 2) == 2
            assert service.ran == [1, 2]

    run(main)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_connection_is_usable_after_call_is_cancelled_during_upload(
    wire: Open, share: float
) -> None:
    if wire is WIRES["shared"]:
        pytest.skip("such calls are cancelled in test_shared_memory: no share goes over the wire")

    async def main() -> None:
        size = 40 * CHUNK_BYTES
        async with wire(Waiting()) as w:
            reached = sent_event(w.connection._channel, share * size)
            await cancelled_once(reached, w.call, "nbytes", np.ones(size, np.uint8))
            assert await w.call("echo", 7) == 7
            assert await w.call("nbytes", np.ones(size, np.uint8)) == size

    run(main)


def test_cancelled_call_with_large_reply_leaves_no_state_at_either_end(wire: Open) -> None:
    if wire is WIRES["shared"]:
        pytest.skip(
            "such calls are cancelled in test_shared_memory: no reads for the wire to count"
        )

    # Cancel after each number of reads: part of the reply may have arrived already.
    async def main() -> None:
        async with wire(Waiting()) as w:
            for reads in range(6):
                left = reads
                reached = trio.Event()
                receive_into = w.connection._channel.receive_into

                async def counted(
                    buffer: memoryview,
                    receive_into: Any = receive_into,
                    reached: trio.Event = reached,
                ) -> int:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        reached.set()
                    return int(await receive_into(buffer))

                w.connection._channel.receive_into = counted  # type: ignore[method-assign]
                await cancelled_once(reached, w.call, "ones", 20 * CHUNK_BYTES)
                w.connection._channel.receive_into = receive_into  # type: ignore[method-assign]
                assert await w.call("echo", reads) == reads
                await w.check_nothing_is_left()

    run(main)


def test_call_cancelled_at_any_moment_does_not_disturb_other_calls(wire: Open) -> None:
    async def main() -> None:
        async with wire(Waiting()) as w:
            done = []

            async def cancelled(rounds: int) -> None:
                with trio.CancelScope() as scope:

                    async def cancel() -> None:
                        for _ in range(rounds):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    nursery.start_soon(cancel)
                    await w.call("echo", np.ones(30_000 + 10_000 * rounds))

            async def kept(i: int) -> None:
                done.append(await w.call("echo", i) == i)

            async with trio.open_nursery() as nursery:
                for i in range(40):
                    nursery.start_soon(cancelled, i)
                    nursery.start_soon(kept, i)
            assert done == [True] * 40

    run(main)


# -- the end of a connection ---------------------------------------------------


def test_pending_calls_fail_when_connection_is_lost(wire: Open) -> None:
    async def main() -> None:
        service = Waiting()
        errors: list[Exception] = []
        async with wire(service) as w:

            async def call(method: str, *args: Any) -> None:
                try:
                    await w.call(method, *args)
                except Exception as exc:
                    errors.append(exc)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, "forever")
                nursery.start_soon(call, "block", 1)
                nursery.start_soon(call, "block", 2)
                nursery.start_soon(call, "block", 3)  # queued
                await service.began.wait()
                await trio.to_thread.run_sync(service.running.acquire)
                w.cut()
                await service.cancelled.wait()
            for error in errors:
                assert type(error) is ConnectionLost
                assert isinstance(error, TransportError)
                assert error.temporary
                assert "may or may not have run" in str(error)
            assert sorted(getattr(error, "method", "") for error in errors) == [
                "S.block",
                "S.block",
                "S.block",
                "S.forever",
            ]
            # A new call fails too.
            with pytest.raises(ConnectionLost):
                await w.call("echo", 1)
            assert not w.connection.is_open
            service.release.set()

    run(main)


def test_lost_connection_cancels_running_methods_on_machine() -> None:
    async def main() -> None:
        service = Waiting()
        lost: list[BigmachineError] = []

        async def call(wire: Any) -> None:
            try:
                await wire.call("forever")
            except ConnectionLost as exc:
                lost.append(exc)

        async with trio.open_nursery() as nursery, tls(service) as w:
            nursery.start_soon(call, w)
            await service.began.wait()
            # Without a CANCEL frame: the caller's end closes the connection.
            w.connection._channel.close()
            await service.cancelled.wait()
        assert len(lost) == 1

    run(main)


def test_calls_received_as_their_connection_ends_do_not_begin() -> None:
    class Late(StreamChannel):
        """Its reader has received two more calls when it closes, and not looked at them yet."""

        def close(self) -> None:
            theirs.receive_stream.put_data(calls)
            super().close()

    _, theirs = trio.testing.memory_stream_pair()
    calls = b"".join(
        message_frame(Kind.CALL, stream, dumps(((1,), {})), b"S.begin")[0] for stream in (1, 2)
    )
    begun: list[int] = []

    class Service:
        async def begin(self, number: int) -> None:
            begun.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery, thread_pool(2) as threads:
            pools = Pools(TaskPool(nursery), threads)
            serving = ServingConnection(Late(theirs), services=services(Service()), pools=pools)
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_when_blocked, scope)
                await serving.run()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert not begun

    async def cancel_when_blocked(scope: trio.CancelScope) -> None:
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()

    run(main)


def test_invalid_data_from_machine_ends_connection_with_reason() -> None:
    async def main() -> None:
        for garbage in (b"\xff" * 100, b"HTTP/1.1 400 Bad Request\r\n\r\n", b""):
            ours, theirs = trio.testing.memory_stream_pair()
            connection = FrameConnection(StreamChannel(ours), addr="https://h:1#m0", machine="m0")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run)
                await theirs.send_all(garbage)
                await theirs.send_eof()
                with pytest.raises(ConnectionLost) as error:
                    await call_over(connection, "S.m", (), {})
            assert ("announced" in str(error.value)) == bool(garbage)

    run(main)


def test_machine_closes_connection_that_sends_invalid_data(wire: Open) -> None:
    async def main() -> None:
        for garbage in (b"\xff" * 100, control_frame(Kind.STREAM, 1)):
            service = Waiting()
            async with wire(service) as w, trio.open_nursery() as nursery:

                async def call(w: Any = w) -> None:
                    with pytest.raises(ConnectionLost):
                        await w.call("forever")

                nursery.start_soon(call)
                await service.began.wait()
                w.connection._outbox.post(garbage)
                await service.cancelled.wait()

    run(main)


@pytest.mark.parametrize("second", [1, 2, 3])
def test_reuse_of_stream_number_of_running_call_ends_connection(second: int) -> None:
    async def main() -> None:
        service = Waiting()
        async with memory(service) as w:
            for stream in (1, second):
                payload = dumps(((), {}))
                frame, _ = message_frame(Kind.CALL, stream, payload, b"S.forever", uploads=2)
                w.connection._outbox.post(frame)
            await service.cancelled.wait()
            with pytest.raises(ConnectionLost):
                await w.call("echo", 1)

    run(main)


def test_stream_numbers_wrap_around_and_skip_numbers_in_use() -> None:
    async def main() -> None:
        service = Waiting()
        async with memory(service) as w, trio.open_nursery() as nursery:
            for stream in (1, 4, 5, 9):
                w.connection._next_stream = stream
                nursery.start_soon(w.call, "forever")
                await trio.testing.wait_all_tasks_blocked()
            w.connection._next_stream = 2**32 - 3
            for i in range(10):
                assert await w.call("echo", i) == i
            # Two before the numbers wrap around, then 2, 3, 6, 7, 8, 10, 11 and 12.
            assert 12 <= w.connection._next_stream <= 14
            nursery.cancel_scope.cancel()

    run(main)


def test_arguments_and_results_are_released_after_call(wire: Open) -> None:
    class Keeps:
        def __init__(self) -> None:
            self.refs: list[weakref.ref[Any]] = []

        async def take(self, value: Any) -> Any:
            self.refs.append(weakref.ref(value))
            return value

        def thread_take(self, value: Any) -> Any:
            self.refs.append(weakref.ref(value))
            return value

    async def main() -> None:
        service = Keeps()
        async with wire(service) as w:
            for method in ("take", "thread_take"):
                array = np.ones(10)
                ours = weakref.ref(array)
                result = await w.call(method, array)
                theirs = weakref.ref(result)
                del array, result
                await w.call(method, np.ones(1))
                await w.call(method, np.ones(1))
                known = [ours, theirs, service.refs[0]]
                # The thread of a method goes on a moment after its result is sent.
                await eventually(lambda known=known: not any(each() is not None for each in known))
                service.refs.clear()

    run(main)
