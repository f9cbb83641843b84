"""Dask distributed over TLS: a local cluster, one actor in each worker process."""

from __future__ import annotations

import collections
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import _certificates
from benchmarks._contestant import Contestant
from benchmarks._service import Bench

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
        self._actors: list[Any] = []
        self._addresses: set[str] = set()
        self._pids: list[int] = []

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
            await self._adopt(1)
            yield

    async def grow(self, count: int) -> None:
        total = len(self._actors) + count
        self._cluster.scale(total)
        await self._adopt(total)

    async def _adopt(self, total: int) -> None:
        self._client.wait_for_workers(total, timeout=START_LIMIT)
        # A client may learn of new workers a moment after the scheduler did.
        known = set(self._client.scheduler_info(n_workers=-1)["workers"])
        new = sorted(known - self._addresses)
        self._addresses.update(new)
        futures = [
            self._client.submit(AsyncBench, actor=True, pure=False, workers=[address])
            for address in new
        ]
        actors = [future.result() for future in futures]
        self._pids += [pid.result() for pid in [actor.pid() for actor in actors]]
        self._actors += actors

    def pids(self) -> list[int]:
        return list(self._pids)

    async def null(self) -> None:
        self._actors[0].null().result()

    async def burst(self, seconds: float, *, in_flight: int) -> int:
        null = self._actors[0].null
        pending = collections.deque(null() for _ in range(in_flight))
        calls, end = 0, time.perf_counter() + seconds
        while pending:
            pending.popleft().result()
            calls += 1
            if time.perf_counter() < end:
                pending.append(null())
        return calls

    async def upload(self, array: Any) -> None:
        self._actors[0].take(array).result()

    async def download(self, size_bytes: int) -> int:
        return int(self._actors[0].give(size_bytes).result().nbytes)

    async def hang(self, machine: int, *, seconds: float) -> None:
        self._actors[machine].sleep(seconds).result()
