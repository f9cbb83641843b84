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
    # Send no usage reports.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Started by `uv run`, Ray would otherwise set its environment up again for the workers.
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
        # An actor reserves no processor: 20 must fit on any computer.
        self._actor: Any = ray.remote(num_cpus=0)(Bench)
        try:
            async with super().open():
                yield
        finally:
            ray.shutdown()

    async def start_more(self, count: int) -> None:
        actors = [self._actor.remote() for _ in range(count)]
        self.pids += self._ray.get([actor.pid.remote() for actor in actors])
        self.machines += actors

    async def null(self) -> None:
        self._ray.get(self.machines[0].null.remote())

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        null = self.machines[0].null
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
        self._ray.get(self.machines[0].receive.remote(array))

    async def download(self, size_bytes: int) -> int:
        return int(self._ray.get(self.machines[0].send.remote(size_bytes)).nbytes)

    async def sleep(self, machine: int, *, seconds: float) -> None:
        self._ray.get(self.machines[machine].sleep.remote(seconds))
