"""Profiles this process from its trio loop, which goes on meanwhile."""

from __future__ import annotations

import trio

from ._checks import check_sampling
from ._profile import Profile
from ._sampler import HZ, Sampler


async def profile_process(seconds: float, hz: float = HZ) -> Profile:
    """Sample the other threads of this process for so long, in a thread; see `Sampler`.

    If it is cancelled, sampling ends at once.
    """
    check_sampling(seconds, hz)
    sampler = Sampler(hz)
    try:
        return await trio.to_thread.run_sync(
            sampler.run,
            seconds,
            abandon_on_cancel=True,
            limiter=trio.CapacityLimiter(1),  # services may have taken all of the usual one
        )
    finally:
        sampler.stop()
