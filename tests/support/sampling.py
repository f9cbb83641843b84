"""Which profiles are being taken in this process."""

from __future__ import annotations

import sys

from bigmachine.profiling._sampler import Sampler


def samplers() -> int:
    """Return how many threads run `Sampler.run` now."""
    count = 0
    for frame in sys._current_frames().values():
        at = frame
        while at is not None and at.f_code is not Sampler.run.__code__:
            at = at.f_back
        count += at is not None
    return count
