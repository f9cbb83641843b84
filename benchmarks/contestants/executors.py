"""Process pools of the `concurrent.futures` kind: the standard library's, and loky's.

A call goes to whichever process is idle, so a machine is a pool of one, and more machines are
one pool of as many. It has no state of its own; here, a process's service is a global.
"""

from __future__ import annotations

import abc
import multiprocessing
import os
from typing import Any

from benchmarks._contestant import Contestant
from benchmarks._service import Bench
from benchmarks.contestants._servers import count_calls

_bench = Bench()
_meeting: Any = None  # of all processes of a pool, in each of them

START_LIMIT = 60.0  # seconds


class _Executor(Contestant):
    """Machines are the processes of executors; machine 0 has one of its own."""

    wire = "pipes, no TLS"
    is_sequential = True  # a process of the pool runs one call at a time

    @abc.abstractmethod
    def context(self) -> Any:
        """Return the context whose processes it uses."""

    @abc.abstractmethod
    def executor(self, processes: int, **options: Any) -> Any:
        """Return a new executor."""

    async def start_more(self, count: int) -> None:
        context = self.context()
        arrived, go_on = context.Semaphore(0), context.Event()
        executor = self.executor(count, initializer=_set_meeting, initargs=(arrived, go_on))
        pids = [executor.submit(_meet) for _ in range(count)]
        for _ in pids:  # so no process has answered two
            if not arrived.acquire(timeout=START_LIMIT):
                raise TimeoutError
        go_on.set()
        self.pids += [pid.result() for pid in pids]
        self.machines += [executor] * count

    async def null(self) -> None:
        self.machines[0].submit(_null).result()

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        submit = self.machines[0].submit
        return count_calls(
            lambda: submit(_null), lambda call: call.result(), seconds=seconds, in_flight=in_flight
        )

    async def upload(self, array: Any) -> None:
        self.machines[0].submit(_receive, array).result()

    async def download(self, size_bytes: int) -> int:
        return int(self.machines[0].submit(_send, size_bytes).result().nbytes)

    async def sleep(self, machine: int, *, seconds: float) -> None:
        self.machines[machine].submit(_sleep, seconds).result()


class ProcessPool(_Executor):
    """`concurrent.futures.ProcessPoolExecutor`, in the way of starting that Python chooses."""

    name = "executor"
    title = "ProcessPoolExecutor"
    module = "concurrent.futures"

    def context(self) -> Any:
        return multiprocessing.get_context()

    def executor(self, processes: int, **options: Any) -> Any:
        from concurrent.futures import ProcessPoolExecutor

        return ProcessPoolExecutor(processes, **options)


class Loky(_Executor):
    """joblib's executor."""

    name = "loky"
    title = "loky"
    module = "loky"
    distributions = ("loky",)
    install = "uv sync --group peers   (or: pip install loky)"

    def context(self) -> Any:
        from loky.backend import get_context

        return get_context("loky")

    def executor(self, processes: int, **options: Any) -> Any:
        from loky import ProcessPoolExecutor

        return ProcessPoolExecutor(processes, **options)


# -- what a process runs; functions of a module, whose pickles are short ---------------


def _set_meeting(arrived: Any, go_on: Any) -> None:
    global _meeting
    _meeting = arrived, go_on


def _meet() -> int:
    arrived, go_on = _meeting
    arrived.release()
    go_on.wait()
    return os.getpid()


def _null() -> None:
    _bench.null()


def _receive(array: Any) -> int:
    return _bench.receive(array)


def _send(size_bytes: int) -> Any:
    return _bench.send(size_bytes)


def _sleep(seconds: float) -> None:
    _bench.sleep(seconds)
