"""What a machine is to measure, in its own process and in those of its parallel methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import trio

from ..metrics._process import resident_bytes
from ._checks import check_heap, check_sampling
from ._heap import MAX_OBJECTS, Heap
from ._profile import Profile
from ._sampler import Sampler


class Profiler(Protocol):
    """Measures this process, from the thread that calls `run`."""

    def run(self, seconds: float) -> Profile:
        """Return what was found within so many seconds."""

    def stop(self) -> None:
        """Have `run` return now; may be called in any thread."""


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """Where CPU time goes in the next seconds (``hz`` looks a second), or what is in memory.

    At most ``max_objects`` are looked at there.
    """

    kind: Literal["cpu", "heap"]
    seconds: float
    hz: float = 0.0
    max_objects: int = MAX_OBJECTS

    def check(self) -> None:
        """Raise `UsageError` for bad times."""
        if self.kind == "cpu":
            check_sampling(self.seconds, self.hz)
        else:
            check_heap(self.seconds)

    def profiler(self) -> Profiler:
        """Return what does it in this process."""
        if self.kind == "cpu":
            return Sampler(self.hz)
        return Heap(resident_bytes(), max_objects=self.max_objects)

    async def run(self) -> Profile:
        """Do it in a thread, while the loop goes on; if it is cancelled, that ends at once."""
        self.check()
        profiler = self.profiler()
        try:
            return await trio.to_thread.run_sync(
                profiler.run,
                self.seconds,
                abandon_on_cancel=True,
                limiter=trio.CapacityLimiter(1),  # services may have taken all of the usual one
            )
        finally:
            profiler.stop()
