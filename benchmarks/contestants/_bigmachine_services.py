"""The services of bigmachine's contestants: apart from them, so that its import is timed."""

from __future__ import annotations

import bigmachine as bm
from benchmarks import _service


class Bench(_service.Bench):
    """`def` methods; those that compute take no place, so that a machine answers meanwhile."""

    compute = bm.concurrent(_service.Bench.compute)


class AsyncBench(Bench):
    """`async def` methods run in the machine's loop, inherited `def` methods in its threads."""

    async def null(self) -> None:  # type: ignore[override]
        """Do nothing, in the loop."""

    def null_in_thread(self) -> None:
        """Do nothing, in a thread."""
