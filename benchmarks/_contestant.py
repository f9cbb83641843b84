"""What a contestant is: a library, used in its own way to start machines and call them.

Every timing loop is written once, as a coroutine (`_measure.py`), and must run
inside the contestant's own runtime, or it would time a switch between threads. A
blocking library therefore implements these coroutines without ever suspending
(`Contestant.run` just steps them), and an async one overrides `run`, `run_both`
and `pause`. What a contestant doesn't implement is reported as not measured.
"""

from __future__ import annotations

import abc
import importlib
import importlib.util
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ClassVar

# Order of the tables' rows and of the turns, the fast ones first: if time runs
# out, a slow one is skipped. Modules are named, not imported: a driver imports
# only its own contestant, so that no other one's imports count for its cold start.
CONTESTANTS = {
    "baseline": "benchmarks.contestants.baseline:Baseline",
    "bigmachine-sync": "benchmarks.contestants.bigmachine:Sync",
    "bigmachine-trio": "benchmarks.contestants.bigmachine:Trio",
    "forkserver": "benchmarks.contestants.forkserver:Forkserver",
    "executor": "benchmarks.contestants.executors:ProcessPool",
    "loky": "benchmarks.contestants.executors:Loky",
    "rpyc": "benchmarks.contestants.rpyc:Rpyc",
    "grpc": "benchmarks.contestants.grpc:Grpc",
    "dask": "benchmarks.contestants.dask:Dask",
    "ray": "benchmarks.contestants.ray:Ray",
    "ec2": "benchmarks.contestants.bigmachine:Ec2",
}
DEFAULT = tuple(name for name in CONTESTANTS if name != "ec2")  # which costs money


class Contestant(abc.ABC):
    """One library's machines; machine 0 is the one that the timing loops call."""

    name: ClassVar[str]
    title: ClassVar[str]
    module: ClassVar[str]  # what its users import
    distributions: ClassVar[tuple[str, ...]] = ()  # whose versions are reported
    install: ClassVar[str] = ""  # how to install it
    wire: ClassVar[str]  # how bytes travel, for the report
    # Programs that measure what needs a driver of its own, by name; each prints a JSON object
    # of metrics and their values. Short runs leave them out.
    programs: ClassVar[dict[str, str]] = {}
    is_sequential: ClassVar[bool] = False  # a connection carries one call at a time
    is_local: ClassVar[bool] = True  # its machines are processes of this computer

    def __init__(self) -> None:
        self.machines: list[Any] = []  # whatever the library calls a machine by
        self.pids: list[int] = []  # the machines' process ids, in the same order

    # -- machines ----------------------------------------------------------

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open a session with one machine, which is ready to be called."""
        await self.start_more(1)
        yield

    @abc.abstractmethod
    async def start_more(self, count: int) -> None:
        """Start `count` more machines; return when each has answered a null call."""

    # -- calls -------------------------------------------------------------

    @abc.abstractmethod
    async def null(self) -> None:
        """Call a method that does nothing, and wait for its answer."""

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        """Keep `in_flight` null calls under way for `seconds`; return how many were answered."""
        raise NotImplementedError

    async def call_many_in_threads(self, seconds: float, *, in_flight: int) -> int:
        """Like `call_many`, of a method that runs in a thread, where `null` does not."""
        raise NotImplementedError

    async def upload(self, array: Any) -> None:
        """Pass a numpy array to a method; return once the method has it."""
        raise NotImplementedError

    async def download(self, size_bytes: int) -> int:
        """Have a method return a numpy array of `size_bytes`; return its length."""
        raise NotImplementedError

    async def sleep(self, machine: int, *, seconds: float) -> None:
        """Call a method of machine number `machine` that sleeps. Raises if the machine dies."""
        raise NotImplementedError

    async def compute(self, seconds: float) -> None:
        """Call a method of machine 0 that computes in Python, while it answers null calls."""
        raise NotImplementedError

    # -- the runtime -------------------------------------------------------

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `main` in this contestant's runtime."""
        step_through(main())

    async def run_both(
        self,
        background: Callable[[], Awaitable[None]],
        foreground: Callable[[], Awaitable[None]],
    ) -> None:
        """Run both at once; return when both have ended. What either raises is raised."""
        failures: list[BaseException] = []

        def body() -> None:
            try:
                step_through(background())
            except BaseException as exc:  # handed to the caller below
                failures.append(exc)

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        try:
            await foreground()
        finally:
            thread.join()
        if failures:
            raise failures[0]

    async def pause(self, seconds: float) -> None:
        """Sleep in the driver, while `run_both` continues with the other function."""
        time.sleep(seconds)

    @classmethod
    def is_installed(cls) -> bool:
        """Tell whether its module can be found, without importing it."""
        return importlib.util.find_spec(cls.module) is not None


def load(name: str) -> type[Contestant]:
    """Return the contestant class called `name`."""
    module, _, attribute = CONTESTANTS[name].partition(":")
    contestant: type[Contestant] = getattr(importlib.import_module(module), attribute)
    return contestant


def step_through(awaitable: Awaitable[None]) -> None:
    """Run a coroutine that blocks instead of suspending."""
    for _ in awaitable.__await__():
        raise RuntimeError("a blocking contestant's coroutine tried to suspend")
