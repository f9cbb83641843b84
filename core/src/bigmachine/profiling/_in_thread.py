"""Profiles this process from its trio loop, which goes on meanwhile."""

from __future__ import annotations

from typing import Protocol

import trio

from ._checks import check_heap, check_sampling
from ._heap import Heap
from ._profile import Profile
from ._sampler import HZ, Sampler


async def profile_process(seconds: float, hz: float = HZ) -> Profile:
    """Sample the other threads of this process for so long, in a thread; see `Sampler`."""
    check_sampling(seconds, hz)
    return await _run(Sampler(hz), seconds)


async def profile_heap(seconds: float, *, process_bytes: int) -> Profile:
    """Look at the memory of this process, in a thread; see `Heap`."""
    check_heap(seconds)
    return await _run(Heap(process_bytes), seconds)


class _Profiler(Protocol):
    def run(self, seconds: float) -> Profile: ...

    def stop(self) -> None: ...


async def _run(profiler: _Profiler, seconds: float) -> Profile:
    """Run it in a thread; if this is cancelled, it ends at once."""
    try:
        return await trio.to_thread.run_sync(
            profiler.run,
            seconds,
            abandon_on_cancel=True,
            limiter=trio.CapacityLimiter(1),  # services may have taken all of the usual one
        )
    finally:
        profiler.stop()
