"""Gets the environment to one machine: from other machines where possible, or from the driver."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable

import trio

from .._backoff import FIRST_PAUSE
from .._values import Instance, Keepalive
from ..errors import TransportError
from ..rpc import ForeignPeer
from ._bundle import builder_source
from ._client import BootStatusError
from ._relays import Relay
from ._retries import PhaseFailed, RetryingClient
from ._shipment import Shipment

logger = logging.getLogger("bigmachine.boot")

_POLL_SECONDS = 0.1  # of a fetch's progress
_MAX_DAMAGED = 2  # times that the same blob may arrive damaged
_DAMAGED = 422
_OTHER_OFFSET = 409  # an upload continues at another offset than expected


class Upload:
    """One machine's way to the blobs of ``shipment``, which others then fetch from it.

    ``on_progress`` gets the bytes that are there, and their total. ``timings`` say for how
    long there may be no progress.
    """

    def __init__(
        self,
        instance: Instance,
        shipment: Shipment,
        *,
        client: RetryingClient,
        timings: Keepalive,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._instance = instance
        self._shipment = shipment
        self._relays = shipment.relays
        self._relay: Relay | None = None  # once the machine has blobs that others may lack
        self._client = client
        self._timings = timings
        self._on_progress = on_progress
        self._damaged: Counter[str] = Counter()
        self._progressed = 0.0  # when

    async def run(self) -> None:
        """Have the machine get all that it lacks. Raises `PhaseFailed`."""
        plan = await self._client.call_until_answered(
            "plan", manifest=self._shipment.manifest, builder_source=builder_source()
        )
        if plan["built"]:
            return
        missing = plan["missing"]
        self._report(missing)
        relay = self._relays.join(self._instance)
        try:
            while missing:
                await self._client.keep_alive_during(lambda: self._relays.wait_for_source(relay))
                with self._relays.source_for(relay) as source:
                    if source is None:
                        missing = await self._send(missing)
                    else:
                        missing = await self._fetch(missing, source)
            self._report({})
            self._relay = relay
        finally:
            if missing:
                self._relays.leave(relay)

    async def drain(self) -> None:
        """Let no more machines fetch from this one, and wait for those that do."""
        if (relay := self._relay) is not None:
            self._relays.leave(relay)
            await self._client.keep_alive_during(lambda: self._relays.wait_drained(relay))

    def close(self) -> None:
        """Let no more machines fetch from this one. Fine to call again."""
        if self._relay is not None:
            self._relays.leave(self._relay)

    async def _fetch(self, missing: dict[str, int], source: Relay) -> dict[str, int]:
        """Have the machine fetch from another one; return what is missing when that ends."""
        try:
            await self._client.call_until_answered(
                "fetch", blobs=list(missing), address=source.address, name=source.name
            )
            last = trio.current_time()
            while missing:
                await trio.sleep(_POLL_SECONDS)
                status = await self._client.call_until_answered("status")
                before, missing = missing, status["missing"]
                self._report(missing)
                if missing != before:
                    last = trio.current_time()
                    self._relays.mark_reached()
                is_stuck = trio.current_time() - last >= self._timings.timeout
                if status["failed"] or is_stuck:
                    logger.debug("%s: from %s: %s", self._instance.name, source.name, status)
                    self._relays.mark_failed(source)
                    break
        except BootStatusError as exc:
            self._relays.mark_failed(source)
            logger.debug("%s can't fetch from %s: %s", self._instance.name, source.name, exc)
        return missing

    async def _send(self, missing: dict[str, int]) -> dict[str, int]:
        """Send blobs from here, until one breaks off; return what is missing then."""
        for sha256 in tuple(missing):
            try:
                await self._put(sha256, missing)
            except BootStatusError as exc:
                if exc.status not in (_DAMAGED, _OTHER_OFFSET):
                    raise
                if exc.status == _DAMAGED:
                    self._count_damaged(sha256, exc)
                break
            except (TransportError, ConnectionRefusedError, ForeignPeer) as exc:
                await self._client.check_exists()
                self._client.check_silence(self._progressed, exc)
                await trio.sleep(FIRST_PAUSE)
                break
        status = await self._client.call_until_answered("status")
        return status["missing"]  # type: ignore[no-any-return]

    async def _put(self, sha256: str, missing: dict[str, int]) -> None:
        offset, size = missing[sha256], self._shipment.sizes_bytes[sha256]

        def extend_deadline() -> None:
            scope.deadline = trio.current_time() + self._timings.timeout

        async def content() -> AsyncIterator[bytes]:
            extend_deadline()
            async for chunk in self._shipment.read(sha256, offset):
                yield chunk
                missing[sha256] += len(chunk)
                extend_deadline()
                self._report(missing)

        with trio.CancelScope() as scope:
            extend_deadline()  # to connect, if it takes a new connection
            await self._client.put(sha256, offset=offset, size_bytes=size, content=content())
        if scope.cancelled_caught:
            raise TransportError("no more data got through")

    def _count_damaged(self, sha256: str, exc: BootStatusError) -> None:
        self._damaged[sha256] += 1
        if self._damaged[sha256] == _MAX_DAMAGED:
            raise PhaseFailed(
                f"{self._shipment.describe(sha256)} was damaged on its way {_MAX_DAMAGED} times: "
                f"are this computer's disk and memory sound? ({exc})"
            ) from exc

    def _report(self, missing: dict[str, int]) -> None:
        sizes, total = self._shipment.sizes_bytes, self._shipment.size_bytes
        left = sum(sizes[sha256] - have for sha256, have in missing.items())
        self._progressed = trio.current_time()
        self._on_progress(total - left, total)
