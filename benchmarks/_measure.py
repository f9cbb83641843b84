"""The timing loops and their statistics; they run in the driver, in the contestant's runtime."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks._contestant import Contestant
from benchmarks._metrics import FAILURE_LIMIT
from benchmarks._processes import cpu_seconds, unshared_bytes

ARRAY_BYTES = 64 << 20
IN_FLIGHT = 64
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
    steps: Sequence[Callable[[Contestant, Plan], Awaitable[Values]]] = (
        null_calls,
        throughput,
        throughput_in_threads,
        transfers,
        null_calls_during_transfers,
        more_machines,
        machine_failure,
    )
    for step in steps:
        emit("begin", step.__name__)
        try:
            emit("values", await step(contestant, plan))
        except NotImplementedError:
            continue
        except Exception as exc:
            emit("note", f"{step.__name__} failed: {type(exc).__name__}: {exc}")


async def null_calls(contestant: Contestant, plan: Plan) -> Values:
    """Time calls one after the other, and the processor time of both ends meanwhile."""
    for _ in range(plan.calls // 10):  # caches, branch predictors, lazy imports
        await contestant.null()
    ends = (os.getpid(), *contestant.pids[: contestant.is_local])
    times: list[float] = []
    clock = time.perf_counter
    begin, processor = clock(), sum(map(cpu_seconds, ends))
    while len(times) < plan.calls and clock() - begin < plan.seconds:
        sent = clock()
        await contestant.null()
        times.append(clock() - sent)
    processor = sum(map(cpu_seconds, ends)) - processor
    values = {
        "null_p50_us": percentile(times, 50) * 1e6,
        "null_p99_us": percentile(times, 99) * 1e6,
    }
    return (
        {**values, "null_cpu_us": processor / len(times) * 1e6} if contestant.is_local else values
    )


async def throughput(contestant: Contestant, plan: Plan) -> Values:
    """Count the calls that a machine answers when 64 are always under way."""
    return {"calls_per_s": await calls_per_second(contestant.call_many, plan)}


async def throughput_in_threads(contestant: Contestant, plan: Plan) -> Values:
    """Count them for a method that runs in a thread."""
    return {"calls_in_threads_per_s": await calls_per_second(contestant.call_many_in_threads, plan)}


async def calls_per_second(call_many: Callable[..., Awaitable[int]], plan: Plan) -> float:
    await call_many(plan.seconds / 10, in_flight=IN_FLIGHT)  # opens connections, starts threads
    begin = time.perf_counter()
    calls = await call_many(plan.seconds, in_flight=IN_FLIGHT)
    return calls / (time.perf_counter() - begin)


async def transfers(contestant: Contestant, plan: Plan) -> Values:
    """Time a large array each way."""
    import numpy as np

    array = np.ones(ARRAY_BYTES, np.uint8)
    up: list[float] = []
    down: list[float] = []
    # The first of each pays for fresh memory at both ends, and isn't counted.
    started = time.perf_counter()
    while len(up) <= plan.transfers:
        begin = time.perf_counter()
        if len(up) > 1 and begin - started > plan.seconds * TRANSFERS_LIMIT:
            break
        await contestant.upload(array)
        between = time.perf_counter()
        received = await contestant.download(ARRAY_BYTES)
        down.append(time.perf_counter() - between)
        up.append(between - begin)
        if received != ARRAY_BYTES:
            raise AssertionError(f"{received} bytes came back, not {ARRAY_BYTES}")
    return {
        "upload_mb_s": ARRAY_BYTES / statistics.median(up[1:]) / 1e6,
        "download_mb_s": ARRAY_BYTES / statistics.median(down[1:]) / 1e6,
    }


async def null_calls_during_transfers(contestant: Contestant, plan: Plan) -> Values:
    """Time null calls while arrays travel both ways on the same connection."""
    if contestant.is_sequential:
        raise NotImplementedError
    import numpy as np

    array = np.ones(ARRAY_BYTES, np.uint8)
    times: list[float] = []
    is_over = False

    async def transfer() -> None:
        nonlocal is_over
        try:
            begin = time.perf_counter()
            while time.perf_counter() - begin < plan.seconds:
                await contestant.upload(array)
                await contestant.download(ARRAY_BYTES)
        finally:
            is_over = True

    async def probe() -> None:
        while not is_over:
            sent = time.perf_counter()
            await contestant.null()
            times.append(time.perf_counter() - sent)

    await contestant.run_both(transfer, probe)
    return {"loaded_p99_ms": percentile(times, 99) * 1e3}


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
