"""Dask distributed over TLS: a local cluster, one actor in each worker process."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import _certificates
from benchmarks._contestant import Contestant
from benchmarks._service import Bench
from benchmarks.contestants._servers import count_calls

START_LIMIT = 60.0  # seconds


class AsyncBench(Bench):
    """Dask runs `async def` in the worker's loop, which is its faster way."""

    async def null(self) -> None:  # type: ignore[override]
        """Do nothing."""


class Dask(Contestant):
    """Actors, the nearest that Dask has to a service: calls bypass the scheduler."""

    name = "dask"
    title = "Dask"
    module = "distributed"
    distributions = ("distributed", "dask")
    install = "uv sync --group peers   (or: pip install distributed)"
    wire = "tornado, mutual TLS 1.3"

    def __init__(self) -> None:
        super().__init__()
        self._workers: set[str] = set()  # the addresses of those that have an actor

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        import dask
        import distributed as untyped

        distributed: Any = untyped

        ca = str(_certificates.path("ca.pem"))
        pairs = {}
        for role, end in (("scheduler", "server"), ("worker", "server"), ("client", "client")):
            pairs[f"tls_{role}_cert"] = str(_certificates.path(f"{end}.pem"))
            pairs[f"tls_{role}_key"] = str(_certificates.path(f"{end}.key"))
        security = distributed.Security(
            require_encryption=True,
            tls_ca_file=ca,
            tls_min_version=ssl.TLSVersion.TLSv1_3,
            **pairs,
        )
        dask.config.set({"distributed.worker.profile.enabled": False})
        with (
            distributed.LocalCluster(
                n_workers=1,
                threads_per_worker=2,
                host="127.0.0.1",
                protocol="tls://",
                security=security,
                dashboard_address=None,
                worker_dashboard_address=None,
                local_directory=tempfile.gettempdir(),
                silence_logs="CRITICAL",
            ) as self._cluster,
            distributed.Client(self._cluster) as self._client,
        ):
            self._add_actors(1)
            yield

    async def start_more(self, count: int) -> None:
        total = len(self.machines) + count
        self._cluster.scale(total)
        self._add_actors(total)

    def _add_actors(self, total: int) -> None:
        """Wait until there are `total` workers; give each new one an actor."""
        self._client.wait_for_workers(total, timeout=START_LIMIT)
        # A client may learn of new workers a moment after the scheduler did.
        workers = set(self._client.scheduler_info(n_workers=-1)["workers"])
        new = sorted(workers - self._workers)
        self._workers.update(new)
        futures = [
            self._client.submit(AsyncBench, actor=True, pure=False, workers=[address])
            for address in new
        ]
        actors = [future.result() for future in futures]
        self.pids += [pid.result() for pid in [actor.pid() for actor in actors]]
        self.machines += actors

    async def null(self) -> None:
        self.machines[0].null().result()

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        null = self.machines[0].null
        return count_calls(null, lambda call: call.result(), seconds=seconds, in_flight=in_flight)

    async def upload(self, array: Any) -> None:
        self.machines[0].receive(array).result()

    async def download(self, size_bytes: int) -> int:
        return int(self.machines[0].send(size_bytes).result().nbytes)

    async def sleep(self, machine: int, *, seconds: float) -> None:
        self.machines[machine].sleep(seconds).result()

    async def compute(self, seconds: float) -> None:
        self.machines[0].compute(seconds).result()
