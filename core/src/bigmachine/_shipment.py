"""What a session sends to its machines: the driver's environment, captured once a start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from .environment import Environment

_CHUNK_BYTES = 256 << 10


class Shipment:
    """An environment on its way: its ``manifest``, and the blobs which that names.

    ``sizes_bytes`` has the size of each blob, by its SHA-256.
    """

    def __init__(self, environment: Environment, manifest: dict[str, Any]) -> None:
        self._environment = environment
        self.manifest = manifest
        wheels = [entry["wheel"] for entry in manifest["distributions"] if entry["wheel"]]
        files = [blob for folder in manifest["folders"] for blob in folder["blobs"]]
        self.sizes_bytes = {blob["sha256"]: int(blob["size"]) for blob in [*wheels, *files]}
        self.size_bytes = sum(self.sizes_bytes.values())

    @classmethod
    async def capture(cls) -> Shipment:
        """Capture this process's environment; raises `UsageError` for what can't travel."""

        def work() -> Shipment:
            from .environment import capture

            environment = capture()
            return cls(environment, environment.manifest(wheels="all"))

        return await trio.to_thread.run_sync(work)

    async def read(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        """Read a blob from ``offset`` on, in chunks."""
        file = await trio.to_thread.run_sync(self._environment.blob(sha256).open)
        with file:
            file.seek(offset)
            while chunk := await trio.to_thread.run_sync(file.read, _CHUNK_BYTES):
                yield chunk
