"""What a session sends to its machines: the driver's environment, captured once a start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from .environment import Environment

_CHUNK_BYTES = 256 << 10


class Shipment:
    """An environment on its way: its ``manifest``, and the blobs which that names."""

    def __init__(self, environment: Environment, manifest: dict[str, Any]) -> None:
        self._environment = environment
        self.manifest = manifest

    @classmethod
    async def capture(cls) -> Shipment:
        """Capture this process's environment; raises `UsageError` for what can't travel."""

        def work() -> Shipment:
            from .environment import capture

            environment = capture()
            return cls(environment, environment.manifest(wheels="all"))

        return await trio.to_thread.run_sync(work)

    @property
    def sizes_bytes(self) -> dict[str, int]:
        """The size of each blob, by its SHA-256."""
        manifest = self.manifest
        wheels = [entry["wheel"] for entry in manifest["distributions"] if entry["wheel"]]
        files = [blob for folder in manifest["folders"] for blob in folder["blobs"]]
        return {blob["sha256"]: blob["size"] for blob in [*wheels, *files]}

    async def read(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        """Read a blob from ``offset`` on, in chunks."""
        file = await trio.to_thread.run_sync(self._environment.blob(sha256).open)
        with file:
            file.seek(offset)
            while chunk := await trio.to_thread.run_sync(file.read, _CHUNK_BYTES):
                yield chunk
