"""Ray: a local cluster, one actor process per machine; arrays go through shared memory."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks._contestant import Contestant
from benchmarks._service import Bench

ENVIRON = {
    # No report home.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A parent called `uv run` is no wish to copy its environment to the workers.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Despite its name this is what keeps Ray on 127.0.0.1 on Linux too. Without it,
    # `_node_ip_address="127.0.0.1"` is replaced by the outward address, and every
    # process of Ray listens, unencrypted, on all interfaces.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
OBJECT_STORE_BYTES = 1 << 30  # room for some 64 MiB arrays that are freed late


class Ray(Contestant):
    """As `ray.init()` sets it up, less its dashboard and its usage reports."""

    name = "ray"
    title = "Ray"
    module = "ray"
    distributions = ("ray",)
    install = "uv sync --group peers   (or: pip install ray)"
    wire = "gRPC and shared memory, no TLS"

    def __init__(self) -> None:
        self._actors: list[Any] = []
        self._pids: list[int] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        os.environ.update(ENVIRON)  # read while ray is imported
        import ray

        self._ray: Any = ray
        ray.init(
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(Path(tempfile.gettempdir()) / "ray"),
        )
        # An actor asks for no processor: 20 must fit on whatever computer this is.
        self._actor: Any = ray.remote(num_cpus=0)(Bench)
        await self.grow(1)
        try:
            yield
        finally:
            ray.shutdown()

    async def grow(self, count: int) -> None:
        made = [self._actor.remote() for _ in range(count)]
        self._pids += self._ray.get([actor.pid.remote() for actor in made])
        self._actors += made

    def pids(self) -> list[int]:
        return list(self._pids)

    async def null(self) -> None:
        self._ray.get(self._actors[0].null.remote())

    async def burst(self, seconds: float, *, in_flight: int) -> int:
        null = self._actors[0].null
        pending = [null.remote() for _ in range(in_flight)]
        calls, end = 0, time.perf_counter() + seconds
        while pending:
            done, pending = self._ray.wait(pending, num_returns=1)
            self._ray.get(done)
            calls += len(done)
            if time.perf_counter() < end:
                pending += [null.remote() for _ in done]
        return calls

    async def upload(self, array: Any) -> None:
        self._ray.get(self._actors[0].take.remote(array))

    async def download(self, size_bytes: int) -> int:
        return int(self._ray.get(self._actors[0].give.remote(size_bytes)).nbytes)

    async def hang(self, machine: int, *, seconds: float) -> None:
        self._ray.get(self._actors[machine].sleep.remote(seconds))
