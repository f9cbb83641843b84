"""How the driver brings a machine from its boot program to its worker, phase by phase."""

from __future__ import annotations

import base64
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from .._backoff import FIRST_PAUSE, backoff
from .._values import Diagnose, Instance, Keepalive
from ..errors import BigmachineError, TransportError, UsageError
from ..system._request import LaunchRequest
from . import modules
from ._client import BootWire, Refusal
from ._relays import Relay, Relays
from ._shipment import Shipment

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

logger = logging.getLogger("bigmachine.boot")

_IDENTIFY_SECONDS = 60.0
_START_SECONDS = 60.0
_LONGEST_PAUSE = 1.0  # between two calls to a VM that is about to answer
_POLL_SECONDS = 0.1  # of a build's progress
_TRIES = 2  # of a blob that arrives damaged
_DAMAGED = 422
_ELSEWHERE = 409  # an upload goes on at another offset than it was thought to


class LogSink(Protocol):
    """Takes a machine's log, part by part; see `bigmachine.machine`."""

    offset: int

    def take(self, at: int, data: bytes) -> None:
        """Take what the log says at an offset."""


class BootFailed(BigmachineError):
    """A phase of a boot failed, for the reason that the message gives."""


class NeedsWheels(BigmachineError):
    """A machine can't get what an index has, for the reason that the message gives."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the machines of one start have in common: their order, and what they are sent."""

    request: LaunchRequest
    shipment: Shipment
    relays: Relays = field(default_factory=Relays)
    whole_relays: Relays = field(default_factory=Relays)  # of those that have no index


class Booting:
    """Brings up one machine; `run` returns when its worker is about to serve.

    ``phase`` is where it is. ``timings`` say how long a request may take, and how long
    the machine may be silent, or an upload make no progress. ``boot_timeout`` and
    ``build_timeout`` bound the phases of that name, in seconds.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        delivery: Delivery,
        http: httpx.AsyncClient,
        timings: Keepalive,
        boot_timeout: float,
        build_timeout: float,
        diagnose: Diagnose,
        on_progress: Callable[[str, int, int], None],
        log: LogSink,
    ) -> None:
        self.phase = "boot"
        self._instance = instance
        self._request = delivery.request
        self._shipment = delivery.shipment
        self._relays = delivery.relays
        self._whole_relays = delivery.whole_relays
        self._relay: Relay | None = None  # while it has what others may lack
        self._damaged: Counter[str] = Counter()
        self._progressed = 0.0
        self._info: dict[str, Any] = {}  # what the machine says of itself
        self._wire = BootWire(http, address=instance.address, name=delivery.request.credential.name)
        self._timings = timings
        self._boot_timeout = boot_timeout
        self._build_timeout = build_timeout
        self._diagnose = diagnose
        self._on_progress = on_progress
        self._log = log

    async def run(self) -> None:
        """Go through the phases. Raises `BootFailed`, and `ProtocolError` for an impostor."""
        try:
            await self._run()
        finally:
            if self._relay is not None:
                self._relays.leave(self._relay)

    async def _run(self) -> None:
        await self._in_phase("boot", self._boot_timeout, self._first_contact)
        config = await self._in_phase("identify", _IDENTIFY_SECONDS, self._identify)
        if not await self._deliver():
            await self._in_phase("upload", float("inf"), self._turn_to_wheels)
            await self._deliver()
        await self._in_phase("start", _START_SECONDS, lambda: self._start(config))

    async def exit_report(self) -> str | None:
        """Read the log to its end, if the boot program serves it; say how its worker ended.

        The machine powers off then. None if the worker may be alive.
        """
        with contextlib.suppress(BigmachineError, ConnectionRefusedError):
            while self._show(status := await self._call("status", log_offset=self._log.offset)):
                pass
            ended: str | None = status["ended"]
            with contextlib.suppress(BigmachineError, ConnectionRefusedError):
                await self._call("abandon", why=ended or "its worker has not come up")
            return ended
        return None

    async def _deliver(self) -> bool:
        """Have the shipment uploaded and built; False if that takes more wheels than it has."""
        manifest = self._shipment.manifest
        await self._in_phase("upload", float("inf"), lambda: self._upload(manifest))
        try:
            await self._in_phase("build", self._build_timeout, lambda: self._build(manifest))
        except NeedsWheels as exc:
            logger.info("%s is sent all wheels: %s", self._instance.name, exc)
            return False
        return True

    def _check_platform(self) -> None:
        there = self._info["platform"], self._info["machine"]
        if wheels := self._shipment.incompatible_wheels(*there):
            here = self._shipment.environment.target
            raise BootFailed(
                f"the machine is {'/'.join(there)} and must be sent wheels, but these are for "
                f"{here.system}/{here.machine}: {', '.join(wheels)}; let the machine reach a "
                "package index that has them, or choose an image of the driver's platform"
            )

    async def _turn_to_wheels(self) -> None:
        """Take the shipment that needs no index, and the chain of those that it goes to."""
        await self._pass_on()
        self._relay = None
        try:
            self._shipment = await self._alive_until(self._shipment.whole)
        except UsageError as exc:
            raise BootFailed(f"it has no index, and wheels can't be made: {exc}") from exc
        self._relays = self._whole_relays

    async def _in_phase(self, phase: str, seconds: float, step: Callable[[], Awaitable[T]]) -> T:
        self.phase = phase
        self._on_progress(phase, 0, 0)
        try:
            with trio.fail_after(seconds):
                return await step()
        except trio.TooSlowError:
            raise BootFailed(f"not done after {seconds:.0f} s") from None
        except Refusal as exc:
            raise BootFailed(str(exc)) from exc

    async def _first_contact(self) -> None:
        """Call until the boot program answers."""
        self._info = await self._until_done("info")
        logger.debug("%s: %s", self._instance.name, self._info)

    async def _identify(self) -> bytes:
        """Certify the key that the machine makes; return its worker's configuration."""
        name = self._instance.name
        reply = await self._until_done("key")
        identity = self._request.certify(name, bytes.fromhex(reply["point"]))
        for pause in backoff():
            try:
                await self._call("identify", certificate=identity.certificate.decode())
                break
            except (TransportError, ConnectionRefusedError):
                # The answer may be what was lost: then it is another already.
                if await self._is_identified(name):
                    break
                await self._check_is_there()
            await trio.sleep(pause)
        self._wire.name = name
        return self._request.remote_config(identity)

    async def _is_identified(self, name: str) -> bool:
        old, self._wire.name = self._wire.name, name
        try:
            return bool((await self._call("info"))["identified"])
        except (BigmachineError, ConnectionRefusedError):
            self._wire.name = old
            return False

    async def _upload(self, manifest: dict[str, Any]) -> None:
        """Have the machine get all that it lacks: from other machines, or from here."""
        self._check_platform()
        plan = await self._until_done("plan", manifest=manifest, modules=modules())
        if plan["built"]:
            return
        missing = plan["missing"]
        self._report_upload(missing)
        relay = self._relays.join(self._instance)
        self._progressed = trio.current_time()
        try:
            while missing:
                await self._alive_until(lambda: self._relays.turn(relay))
                with self._relays.source_of(relay) as source:
                    if source is None:
                        missing = await self._send(missing)
                    else:
                        missing = await self._fetch(missing, source)
            self._report_upload({})
            self._relay = relay
        finally:
            if missing:
                self._relays.leave(relay)

    async def _fetch(self, missing: dict[str, int], source: Relay) -> dict[str, int]:
        """Have the machine fetch from another one; return what is missing when that ends."""
        try:
            blobs = list(missing)
            await self._until_done("fetch", blobs=blobs, address=source.address, name=source.name)
            last = trio.current_time()
            while True:
                await trio.sleep(_POLL_SECONDS)
                status = await self._until_done("status")
                before, missing = missing, status["missing"]
                self._report_upload(missing)
                if missing != before:
                    last = trio.current_time()
                is_stuck = trio.current_time() - last >= self._timings.timeout
                if status["failed"] or is_stuck:
                    logger.debug("%s: from %s: %s", self._instance.name, source.name, status)
                    self._relays.failed(source)
                    return missing
                if not missing:
                    return missing
        except Refusal as exc:
            self._relays.failed(source)
            logger.debug("%s can't fetch from %s: %s", self._instance.name, source.name, exc)
            return missing

    async def _send(self, missing: dict[str, int]) -> dict[str, int]:
        """Send blobs from here, until one breaks off; return what is missing then."""
        for sha256 in tuple(missing):
            try:
                await self._put(sha256, missing)
            except Refusal as exc:
                if exc.status not in (_DAMAGED, _ELSEWHERE):
                    raise
                self._damaged[sha256] += exc.status == _DAMAGED
                if self._damaged[sha256] == _TRIES:
                    raise BootFailed(
                        f"{self._shipment.what_is(sha256)} was damaged on its way {_TRIES} times: "
                        f"are this computer's disk and memory sound? ({exc})"
                    ) from exc
                break
            except (TransportError, ConnectionRefusedError) as exc:
                await self._check_is_there()
                self._check_is_heard(self._progressed, exc)
                await trio.sleep(FIRST_PAUSE)
                break
        return (await self._until_done("status"))["missing"]  # type: ignore[no-any-return]

    def _report_upload(self, missing: dict[str, int]) -> None:
        sizes, total = self._shipment.sizes_bytes, self._shipment.size_bytes
        left = sum(sizes[sha256] - have for sha256, have in missing.items())
        self._progressed = trio.current_time()
        self._on_progress("upload", total - left, total)

    async def _put(self, sha256: str, missing: dict[str, int]) -> None:
        offset, size = missing[sha256], self._shipment.sizes_bytes[sha256]

        def more_time() -> None:
            scope.deadline = trio.current_time() + self._timings.timeout

        async def content() -> AsyncIterator[bytes]:
            more_time()
            async for chunk in self._shipment.read(sha256, offset):
                yield chunk
                missing[sha256] += len(chunk)
                more_time()
                self._report_upload(missing)

        with trio.CancelScope() as scope:
            more_time()  # first of all to connect, where it takes a new connection
            await self._wire.put(sha256, offset=offset, size_bytes=size, content=content())
        if scope.cancelled_caught:
            raise TransportError("nothing more got through")

    async def _build(self, manifest: dict[str, Any]) -> None:
        await self._until_done("build")
        while True:
            status = (await self._status())["build"]
            if status["needs_wheels"]:
                raise NeedsWheels(status["error"])
            if status["error"]:
                raise BootFailed(status["error"])
            self._on_progress("build", status["done"], status["of"])
            if status["built"] is not None:
                break
            await trio.sleep(_POLL_SECONDS)
        from ..environment import difference

        if status["built"] != manifest["content"]:
            raise BootFailed(
                "what was built is not what was asked for:\n"
                + difference(manifest["content"], status["built"])
            )

    async def _status(self) -> Any:
        status = await self._until_done("status", log_offset=self._log.offset)
        self._show(status)
        return status

    def _show(self, status: Any) -> bool:
        """Take what it brings of the log; False if that is nothing."""
        data = status["log"].encode("latin-1")
        self._log.take(status["log_offset"], data)
        return bool(data)

    async def _start(self, config: bytes) -> None:
        await self._pass_on()
        while (await self._status())["log"]:  # the rest is the worker's
            pass
        # If the answer was lost, or the order, whoever dials next will see.
        with contextlib.suppress(TransportError, ConnectionRefusedError):
            await self._call("start", config=base64.b64encode(config).decode())

    async def _pass_on(self) -> None:
        """Wait for the machines that fetch from this one: its worker has no files to give."""
        if (relay := self._relay) is None:
            return
        self._relays.leave(relay)
        await self._alive_until(lambda: self._relays.drained(relay))

    async def _alive_until(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Wait for something that may take long, and have the machine wait, too."""
        while True:
            with trio.move_on_after(self._timings.period):
                return await wait()
            await self._until_done("keepalive")

    async def _until_done(self, method: str, **arguments: Any) -> Any:
        """Call a method that may be called again, until there is an answer."""
        began = trio.current_time()
        for pause in backoff():
            try:
                return await self._call(method, **arguments)
            except (TransportError, ConnectionRefusedError) as exc:
                logger.debug("%s: %s: %s", self._instance.name, method, exc)
                await self._check_is_there()
                if self.phase != "boot":
                    self._check_is_heard(began, exc)
            await trio.sleep(min(pause, _LONGEST_PAUSE))
        raise AssertionError("the backoff has no end")

    async def _call(self, method: str, **arguments: Any) -> Any:
        # A manifest may be of megabytes, and the link slow.
        timings = self._timings
        seconds = timings.timeout if method == "plan" else timings.rpc_timeout
        with trio.move_on_after(seconds):
            return await self._wire.call(method, **arguments)
        raise TransportError(f"no answer in {seconds:g} s")

    def _check_is_heard(self, last: float, exc: Exception) -> None:
        """Raise if there was no sign of life since ``last`` for as long as the machine waits."""
        silence = trio.current_time() - last
        if silence >= self._timings.timeout:
            raise BootFailed(f"it was silent for {silence:.0f} s: {exc}") from exc

    async def _check_is_there(self) -> None:
        """Raise if the system knows that the machine is gone."""
        if (gone := await self._diagnose()) is not None:
            raise BootFailed(gone.detail)
