"""What a session sends to its machines: the driver's environment, captured at each start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from .._events import EnvironmentCaptured
from ..errors import UsageError
from ._relays import Reachability, Relays

if TYPE_CHECKING:
    from .._values import EnvironmentOptions
    from ..environment import Environment

_CHUNK_BYTES = 256 << 10
_ATTEMPTS = 3  # to capture an environment while a program deletes its temporary files


class Shipment:
    """An environment to send: its ``manifest``, and the blobs that this names.

    What a package index has is not among them; machines without one get `with_all_wheels`.
    ``sizes_bytes`` has the size of each blob, by its SHA-256. ``relays`` are the machines
    that it goes to, which pass it on to one another, if that seems possible by what is known of
    their ``reachability``.
    """

    def __init__(
        self,
        environment: Environment,
        manifest: dict[str, Any],
        reachability: Reachability | None = None,
    ) -> None:
        self.environment = environment
        self.manifest = manifest
        wheels = [entry["wheel"] for entry in manifest["distributions"] if entry["wheel"]]
        files = [blob for folder in manifest["folders"] for blob in folder["blobs"]]
        pip = [manifest["pip"]] if manifest["pip"] else []
        blobs = [*pip, *wheels, *files]
        self.sizes_bytes = {blob["sha256"]: int(blob["size"]) for blob in blobs}
        self.size_bytes = sum(self.sizes_bytes.values())
        self.relays = Relays(reachability)
        self._reachability = reachability
        self._packed = trio.Event()
        self._whole: Shipment | UsageError | None = None

    @classmethod
    async def capture(
        cls, options: EnvironmentOptions, reachability: Reachability | None = None
    ) -> Shipment:
        """Capture this process's environment; raises `UsageError` for what can't travel."""

        def work() -> Shipment:
            from ..environment import capture
            from ..environment._left_out import log_secrets
            from ..environment._local_file import DeletedError

            for attempt in range(_ATTEMPTS):
                try:
                    environment = capture(
                        include=options.include,
                        exclude=options.exclude,
                        exclude_distributions=options.exclude_distributions,
                        limit_bytes=options.limit_bytes,
                    )
                    manifest = environment.manifest()
                    break
                except DeletedError:
                    if attempt == _ATTEMPTS - 1:
                        raise
            files = [file.source for folder in environment.folders for file in folder.files]
            log_secrets(environment.left_out, sent=files)
            return cls(environment, manifest, reachability)

        return await trio.to_thread.run_sync(work)

    def describe(self, sha256: str) -> str:
        """Describe a blob to a person."""
        from ..environment._messages import printable

        for entry in self.manifest["distributions"]:
            if entry["wheel"] and entry["wheel"]["sha256"] == sha256:
                return f"the wheel {entry['wheel']['filename']}"
        for folder in self.manifest["folders"]:
            for blob in folder["blobs"]:
                if blob["sha256"] == sha256:
                    path = printable(blob.get("path", "an archive"))
                    return f"{path} of folder {printable(folder['name'])}"
        return "pip's wheel"

    def incompatible_wheels(self, system: str, machine: str) -> list[str]:
        """List the wheels that don't run on a machine, because they are for another platform.

        ``system`` and ``machine`` are `sys.platform` and `platform.machine` there.
        """
        here = self.environment.target
        if type(here).of(system, machine, here.python) == here:
            return []
        wheels = [entry["wheel"] for entry in self.manifest["distributions"] if entry["wheel"]]
        return [w["filename"] for w in wheels if not w["filename"].endswith("-none-any.whl")]

    def event(self, seconds: float) -> EnvironmentCaptured:
        """Return the event for observers; the capture took ``seconds``."""
        return EnvironmentCaptured(
            digest=self.manifest["digest"],
            distributions=len(self.manifest["distributions"]),
            files=len(self.manifest["content"]["files"]),
            size_bytes=self.size_bytes,
            seconds=seconds,
        )

    async def pack(self) -> None:
        """Make the wheels of all distributions in advance: `with_all_wheels` then waits less."""
        run = partial(trio.to_thread.run_sync, abandon_on_cancel=True)
        try:
            # One after the other: a session that ends meanwhile leaves only one unfinished.
            for distribution in self.environment.distributions:
                await run(self.environment.pack, distribution)
            manifest = await run(partial(self.environment.manifest, wheels="all"))
            self._whole = type(self)(self.environment, manifest, self._reachability)
        except UsageError as exc:
            self._whole = exc
        finally:
            self._packed.set()

    async def with_all_wheels(self) -> Shipment:
        """Return a shipment with the wheels of all distributions, once `pack` has made them.

        Raises `UsageError` if that can't be done.
        """
        await self._packed.wait()
        if isinstance(self._whole, Shipment):
            return self._whole
        raise UsageError(str(self._whole)) from self._whole

    async def read(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        """Read a blob from ``offset`` on, in chunks."""
        file = await trio.to_thread.run_sync(self.environment.blob(sha256).open)
        with file:
            file.seek(offset)
            while chunk := await trio.to_thread.run_sync(file.read, _CHUNK_BYTES):
                yield chunk
