"""What a method may be: decorated, partial, an object of its own; and what it may return."""

from __future__ import annotations

import asyncio
import functools
import io

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class AsyncCallable:
    async def __call__(self, n):
        await trio.lowlevel.checkpoint()
        return n + 1


async def add(n, m):
    await trio.lowlevel.checkpoint()
    return n + m


class Kinds:
    """Each method returns n + 1, or yields 0 to n; none is plainly an ``async def``."""

    instance = AsyncCallable()
    partial = staticmethod(functools.partial(add, 1))
    partial_of_wrapped = staticmethod(functools.partial(logged(add), 1))

    @logged
    async def decorated(self, n):
        return await add(n, 1)

    @staticmethod
    @logged
    async def static(n):
        return await add(n, 1)

    @classmethod
    @logged
    async def of_class(cls, n):
        return await add(n, 1)

    def coroutine(self, n):
        return add(n, 1)

    def two_coroutines(self, n):
        async def outer():
            return add(n, 1)

        return outer()

    def awaitable(self, n):
        class Later:
            def __await__(self):
                return (yield from add(n, 1).__await__())

        return Later()

    @logged
    async def decorated_items(self, n):
        for i in range(n + 1):
            await trio.lowlevel.checkpoint()
            yield i

    def items(self, n):
        return Kinds.decorated_items(self, n)

    async def items_later(self, n):
        return Kinds.decorated_items(self, n)

    async def plain_items(self, n):
        return iter(range(n + 1))

    # -- stream arguments -----------------------------------------------------------

    @logged
    async def total(self, numbers):
        return sum([n async for n in numbers])

    @logged
    async def size(self, file):
        return len(await file.read())


@pytest.fixture(scope="module")
def machine():
    with bm.Session(InProcessSystem) as session:
        yield session.start(1, services={"Kinds": Kinds(), "Asyncio": Asyncio()})[0]


AWAITABLE = """
    instance partial partial_of_wrapped decorated static of_class coroutine two_coroutines awaitable
"""


@pytest.mark.parametrize("method", AWAITABLE.split())
def test_awaitable_that_method_returns_is_awaited(machine, method):
    assert machine.call(f"Kinds.{method}", 2) == 3


@pytest.mark.parametrize("method", ["decorated_items", "items", "items_later", "plain_items"])
def test_iterator_that_method_returns_is_streamed(machine, method):
    assert list(machine.stream(f"Kinds.{method}", 2)) == [0, 1, 2]


def test_decorated_async_method_reads_streams_and_files(machine):
    assert machine.call("Kinds.total", iter([1, 2])) == 3
    assert machine.call("Kinds.size", io.BytesIO(b"four")) == 4


# -- asyncio --------------------------------------------------------------------------


class Asyncio:
    async def sleep(self):
        await asyncio.sleep(0.01)

    async def sleep_zero(self):
        await asyncio.sleep(0)

    async def running_loop(self):
        asyncio.get_running_loop()

    async def future(self):
        loop = asyncio.new_event_loop()
        try:
            await loop.create_future()
        finally:
            loop.close()

    async def timeout(self):
        async with asyncio.timeout(1):
            pass

    async def task_group(self):
        async with asyncio.TaskGroup():
            pass

    async def queue(self):
        await asyncio.Queue().get()

    async def wait_for(self):
        await asyncio.wait_for(asyncio.Event().wait(), 1)

    async def items(self):
        await asyncio.sleep(0.01)
        yield

    @logged
    async def decorated(self):
        await asyncio.sleep(0.01)

    def run(self):
        return asyncio.run(asyncio.sleep(0.01, "done"))


USES_ASYNCIO = """
    sleep sleep_zero running_loop future timeout task_group queue wait_for decorated
"""


@pytest.mark.parametrize("method", USES_ASYNCIO.split())
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_asyncio_in_async_method_is_error_that_says_what_to_do(machine, method):
    with pytest.raises(bm.UsageError, match=r"uses asyncio.*Use trio.*or.*asyncio\.run") as caught:
        machine.call(f"Asyncio.{method}")
    assert "Error: " in caught.value.__cause__.traceback  # asyncio's own, chained
    assert "The above exception was the direct cause" in caught.value.__cause__.traceback


def test_asyncio_in_async_generator_is_error_that_says_what_to_do(machine):
    with pytest.raises(bm.UsageError, match=r"Asyncio\.items uses asyncio"):
        list(machine.stream("Asyncio.items"))


def test_asyncio_run_works_in_def_method(machine):
    assert machine.call("Asyncio.run") == "done"
