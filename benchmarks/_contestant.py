"""What a contestant is: something that starts machines and calls them, one way or another.

Every timing loop is written once, as a coroutine (`_measure.py`), and must run
inside the contestant's own runtime, or it would time a hop between threads. A
blocking library therefore implements these coroutines without ever suspending
(`Contestant.run` just steps them), and an async one overrides `run`, `overlap`
and `pause`. What a contestant leaves out is reported as not measured.
"""

from __future__ import annotations

import abc
import importlib
import importlib.util
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

# Order of the table's columns and of the turns, the quick ones first: what runs
# out of time is then a slow one. Modules are named, not imported: a driver
# imports only its own, so that a cold start holds nobody else's imports.
CONTESTANTS = {
    "ssl": "benchmarks.floor:Floor",
    "bigmachine": "benchmarks.ours:Bigmachine",
    "multiprocessing": "benchmarks.mp:Multiprocessing",
    "rpyc": "benchmarks.rpyc_:Rpyc",
    "grpc": "benchmarks.grpc_:Grpc",
    "dask": "benchmarks.dask_:Dask",
    "ray": "benchmarks.ray_:Ray",
    "ec2": "benchmarks.ours:Ec2",
}
UNASKED = tuple(name for name in CONTESTANTS if name != "ec2")  # which costs money


class Contestant(abc.ABC):
    """One way to have machines; machine 0 is the one that the timing loops call."""

    name: ClassVar[str]
    title: ClassVar[str]
    module: ClassVar[str]  # what its user imports
    distributions: ClassVar[tuple[str, ...]] = ()  # whose versions are reported
    install: ClassVar[str] = ""  # how to have it, if it is missing
    wire: ClassVar[str]  # how bytes travel, for the report
    # The cold start of a contestant whose usual program is not the async one measured here:
    # starts a machine, calls it, prints `time.monotonic()`.
    cold_program: ClassVar[str] = ""
    # Prints how many kB its driver needs for each of 1,000 machines.
    crowd_program: ClassVar[str] = ""
    is_sequential: ClassVar[bool] = False  # a connection carries one call at a time
    is_here: ClassVar[bool] = True  # its machines are processes of this computer

    # -- machines ----------------------------------------------------------

    @abc.abstractmethod
    def open(self) -> AbstractAsyncContextManager[None]:
        """Open a session with one machine, which is ready to be called."""

    async def grow(self, count: int) -> None:
        """Start `count` more machines; return when each has answered a null call."""
        raise NotImplementedError

    @abc.abstractmethod
    def pids(self) -> list[int]:
        """Process ids of all machines, in the order of their start."""

    # -- calls -------------------------------------------------------------

    @abc.abstractmethod
    async def null(self) -> None:
        """Call a method that does nothing, and wait for its answer."""

    async def burst(self, seconds: float, *, in_flight: int) -> int:
        """Keep `in_flight` null calls going for `seconds`; return how many were answered."""
        raise NotImplementedError

    async def burst_in_threads(self, seconds: float, *, in_flight: int) -> int:
        """Like `burst`, where methods run in threads and that is not the default."""
        raise NotImplementedError

    async def upload(self, array: Any) -> None:
        """Pass a numpy array to a method; return once the method has it."""
        raise NotImplementedError

    async def download(self, size_bytes: int) -> int:
        """Have a method return a numpy array of so many bytes; return its length."""
        raise NotImplementedError

    async def hang(self, machine: int, *, seconds: float) -> None:
        """Call a method of machine number `machine` that sleeps. Raises if the machine dies."""
        raise NotImplementedError

    # -- the runtime -------------------------------------------------------

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `main` in this contestant's runtime."""
        step_through(main())

    async def overlap(
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
        """Sleep, letting what else runs run."""
        time.sleep(seconds)

    @classmethod
    def is_installed(cls) -> bool:
        """Whether its module can be found; imports nothing."""
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
