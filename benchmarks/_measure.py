"""The timing loops and their statistics; they run in the driver, in the contestant's runtime."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks._contestant import Contestant
from benchmarks._metrics import FAILURE_LIMIT, FLOOR
from benchmarks._placement import PLACEMENTS, placed
from benchmarks._processes import cpu_seconds, unshared_bytes

ARRAY_BYTES = 64 << 20
IN_FLIGHT = 64
# Of contestant and floor: the computer's speed changes within seconds.
TURNS = 5
NULL_KEYS = {
    "kernel": "null_p50_us",
    "one core": "null_one_core_us",
    "two cores": "null_two_cores_us",
}
TRANSFERS_LIMIT = 4  # times a loop's seconds: gRPC was once seen to take 6 s for an array

Values = dict[str, float]
Emit = Callable[[str, object], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a round measures. A loop ends after its count or `seconds`, whichever is first."""

    calls: int
    seconds: float
    transfers: int
    machines: int


FULL = Plan(calls=3000, seconds=1.0, transfers=5, machines=20)
QUICK = Plan(calls=500, seconds=0.3, transfers=2, machines=5)


async def measure(contestant: Contestant, *, plan: Plan, emit: Emit) -> None:
    """Measure a contestant that has an open session; a step that fails is reported and skipped."""

    async def take(step: Callable[..., Awaitable[Values]], *arguments: object) -> None:
        emit("begin", step.__name__)
        try:
            emit("values", await step(*arguments))
        except NotImplementedError:
            return
        except Exception as exc:
            emit("note", f"{step.__name__} failed: {type(exc).__name__}: {exc}")

    async with floor_beside(contestant) as floor:
        for compared in (null_calls, throughput, transfers):
            await take(compared, contestant, floor, plan)
    for step in (
        throughput_in_threads,
        null_calls_during_transfers,
        null_calls_during_computation,
        more_machines,
        machine_failure,
    ):
        await take(step, contestant, plan)


@asynccontextmanager
async def floor_beside(contestant: Contestant) -> AsyncIterator[Contestant | None]:
    """Open the floor, which the contestant takes turns with; None if its machines are elsewhere.

    It is called in the same process, for no longer than it takes: nothing else is so much alike.
    """
    if not contestant.is_local:
        yield None
        return
    from benchmarks.contestants.baseline import Baseline  # here: for the other's cold start

    floor = Baseline()
    async with floor.open():
        yield floor


class Samples:
    """The times of one contestant's null calls in seconds, and its processor time meanwhile."""

    def __init__(self, contestant: Contestant) -> None:
        self.times: list[float] = []
        self.processor = 0.0
        self._contestant = contestant
        self._ends = (os.getpid(), *contestant.pids[: contestant.is_local])

    async def add(self, calls: int, *, seconds: float) -> None:
        """Time calls one after the other."""
        null, times, clock = self._contestant.null, self.times, time.perf_counter
        for _ in range(calls // 10 + 1):  # caches, branch predictors, lazy imports
            await null()
        end, total = clock() + seconds, len(times) + calls
        processor = sum(map(cpu_seconds, self._ends))
        while len(times) < total and clock() < end:
            sent = clock()
            await null()
            times.append(clock() - sent)
        self.processor += sum(map(cpu_seconds, self._ends)) - processor


async def null_calls(contestant: Contestant, floor: Contestant | None, plan: Plan) -> Values:
    """Time calls one after the other in each placement, in turns with the floor."""
    values: Values = {}
    for placement in PLACEMENTS if floor else PLACEMENTS[:1]:
        sides = {"": Samples(contestant)}
        if floor:
            sides[FLOOR] = Samples(floor)
        machines = [pid for side in (contestant, floor) if side for pid in side.pids[:1]]
        try:
            with placed(placement, driver=os.getpid(), machines=machines):
                for _ in range(TURNS):
                    for samples in sides.values():
                        await samples.add(plan.calls // TURNS, seconds=plan.seconds / TURNS)
        except NotImplementedError:  # just one core
            continue
        for prefix, samples in sides.items():
            values[prefix + NULL_KEYS[placement]] = percentile(samples.times, 50) * 1e6
            if placement == "kernel":
                values[prefix + "null_p99_us"] = percentile(samples.times, 99) * 1e6
                if contestant.is_local:
                    processor = samples.processor / len(samples.times)
                    values[prefix + "null_cpu_us"] = processor * 1e6
    return values


async def throughput(contestant: Contestant, floor: Contestant | None, plan: Plan) -> Values:
    """Count the calls that a machine answers when 64 are always under way, in turns with the floor.

    The floor has 64 under way, too: it sends them at once, and then reads all answers.
    """
    sides = {"": contestant, FLOOR: floor} if floor else {"": contestant}
    rates: dict[str, list[float]] = {prefix: [] for prefix in sides}
    for number in range(TURNS + 1):
        for prefix, side in sides.items():
            rate = await calls_per_second(side.call_many, plan.seconds / TURNS)
            if number:  # the first opens connections and starts threads
                rates[prefix].append(rate)
    return {prefix + "calls_per_s": statistics.median(of) for prefix, of in rates.items()}


async def throughput_in_threads(contestant: Contestant, plan: Plan) -> Values:
    """Count them for a method that runs in a thread."""
    call_many = contestant.call_many_in_threads
    await calls_per_second(call_many, plan.seconds / 10)
    return {"calls_in_threads_per_s": await calls_per_second(call_many, plan.seconds)}


async def calls_per_second(call_many: Callable[..., Awaitable[int]], seconds: float) -> float:
    begin = time.perf_counter()
    calls = await call_many(seconds, in_flight=IN_FLIGHT)
    return calls / (time.perf_counter() - begin)


async def transfers(contestant: Contestant, floor: Contestant | None, plan: Plan) -> Values:
    """Time a large array each way, in turns with the floor."""
    import numpy as np

    array = np.ones(ARRAY_BYTES, np.uint8)
    sides = {"": contestant, FLOOR: floor} if floor else {"": contestant}
    times: dict[str, list[float]] = {}
    # The first of each pays for fresh memory at both ends, and isn't counted.
    end = time.perf_counter() + plan.seconds * TRANSFERS_LIMIT
    for number in range(plan.transfers + 1):
        if number > 1 and time.perf_counter() > end:
            break
        for prefix, side in sides.items():
            begin = time.perf_counter()
            await side.upload(array)
            between = time.perf_counter()
            received = await side.download(ARRAY_BYTES)
            times.setdefault(prefix + "download_mb_s", []).append(time.perf_counter() - between)
            times.setdefault(prefix + "upload_mb_s", []).append(between - begin)
            if received != ARRAY_BYTES:
                raise AssertionError(f"{received} bytes came back, not {ARRAY_BYTES}")
    return {key: ARRAY_BYTES / statistics.median(of[1:]) / 1e6 for key, of in times.items()}


async def null_calls_during_transfers(contestant: Contestant, plan: Plan) -> Values:
    """Time null calls while arrays travel both ways on the same connection."""
    if contestant.is_sequential:
        raise NotImplementedError
    import numpy as np

    array = np.ones(ARRAY_BYTES, np.uint8)

    async def transfer() -> None:
        begin = time.perf_counter()
        while time.perf_counter() - begin < plan.seconds:
            await contestant.upload(array)
            await contestant.download(ARRAY_BYTES)

    return {"loaded_p99_ms": await null_p99_ms_during(transfer, contestant)}


async def null_calls_during_computation(contestant: Contestant, plan: Plan) -> Values:
    """Time null calls while the machine runs a method that computes in Python."""

    async def compute() -> None:
        await contestant.compute(plan.seconds)

    return {"busy_p99_ms": await null_p99_ms_during(compute, contestant)}


async def null_p99_ms_during(work: Callable[[], Awaitable[None]], contestant: Contestant) -> float:
    """Time null calls one after the other until ``work`` is done."""
    times: list[float] = []
    is_over = False

    async def background() -> None:
        nonlocal is_over
        try:
            await work()
        finally:
            is_over = True

    async def probe() -> None:
        while not is_over:
            sent = time.perf_counter()
            await contestant.null()
            times.append(time.perf_counter() - sent)

    await contestant.run_both(background, probe)
    return percentile(times, 99) * 1e3


async def more_machines(contestant: Contestant, plan: Plan) -> Values:
    """Time the start of many machines, and measure the memory of each while it is idle."""
    before = len(contestant.pids)
    begin = time.perf_counter()
    await contestant.start_more(plan.machines)
    elapsed = time.perf_counter() - begin
    started = contestant.pids[before:]
    if len(started) != plan.machines:
        raise AssertionError(f"{len(started)} machines started, not {plan.machines}")
    values = {"start_more_ms": elapsed / plan.machines * 1e3}
    if not contestant.is_local:
        return values
    return {
        **values,
        "idle_mb": statistics.median(unshared_bytes(pid) for pid in started) / 1e6,
    }


async def machine_failure(contestant: Contestant, plan: Plan) -> Values:
    """Kill the last machine during a call, and time how long the call takes to fail."""
    if not contestant.is_local:
        raise NotImplementedError
    killed = failed = 0.0

    async def call() -> None:
        nonlocal failed
        try:
            await contestant.sleep(-1, seconds=FAILURE_LIMIT)
        except Exception:  # any: each library has its own
            failed = time.perf_counter()

    async def kill() -> None:
        nonlocal killed
        await contestant.pause(0.2)  # for the call to arrive
        victim = contestant.pids[-1]
        killed = time.perf_counter()  # before: the call may fail before kill(2) returns
        os.kill(victim, signal.SIGKILL)

    await contestant.run_both(call, kill)
    return {"failure_ms": (failed - killed if failed else FAILURE_LIMIT) * 1e3}


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` of them don't exceed."""
    ranked = sorted(samples)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]
