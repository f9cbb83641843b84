"""How the driver brings a machine from its boot program to its worker, phase by phase."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from .._backoff import backoff
from .._values import Diagnose, Instance, Keepalive
from ..errors import BigmachineError, TransportError, UsageError
from ..rpc import ForeignPeer
from ..system._request import LaunchRequest
from ._client import BootStatusError
from ._retries import PhaseFailed as PhaseFailed
from ._retries import RetryingClient
from ._shipment import Shipment
from ._upload import Upload

if TYPE_CHECKING:
    import httpx

    from ..system import System

T = TypeVar("T")

logger = logging.getLogger("bigmachine.boot")

_IDENTIFY_SECONDS = 60.0
_START_SECONDS = 60.0
_POLL_SECONDS = 0.1  # of a build's progress


def boot_seconds(system: System) -> float:
    """Return the most that may pass from the request for a VM to the certificate of its key."""
    verify_seconds = system.boot_timeout if system.verifies_boot else 0.0
    return system.start_timeout + system.boot_timeout + verify_seconds + _IDENTIFY_SECONDS


class LogSink(Protocol):
    """Takes a machine's log, part by part; see `bigmachine.machine`."""

    offset: int

    def take(self, at: int, data: bytes) -> None:
        """Take what the log says at an offset."""


@dataclass(frozen=True, slots=True)
class BootBatch:
    """What the machines of one start share: their request, and the environment they are sent."""

    request: LaunchRequest
    shipment: Shipment


class Bootstrap:
    """Brings up one machine; `run` returns when its worker is about to serve.

    ``phase`` is the present one. ``timings`` say how long a request may take, and how long
    the machine may be silent, or an upload make no progress. ``boot_timeout`` and
    ``build_timeout`` bound the phases of that name, in seconds. With ``console``, which reads
    the machine's console, the machine is believed to be who it is only if its key is there.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        batch: BootBatch,
        http: httpx.AsyncClient,
        timings: Keepalive,
        boot_timeout: float,
        build_timeout: float,
        diagnose: Diagnose,
        on_progress: Callable[[str, int, int], None],
        log: LogSink,
        console: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.phase = "boot"
        self._console = console
        self._point = b""  # the machine's public key, once that is verified
        self._doubt: UnverifiedKey | None = None  # why it is not verified
        self._instance = instance
        self._request = batch.request
        self._shipment = batch.shipment
        self._info: dict[str, Any] = {}  # what the machine says of itself
        self._client = RetryingClient(
            http,
            address=instance.address,
            name=batch.request.credential.name,
            timings=timings,
            diagnose=diagnose,
        )
        self._timings = timings
        self._boot_timeout = boot_timeout
        self._build_timeout = build_timeout
        self._on_progress = on_progress
        self._log = log
        self._upload = self._upload_of(batch.shipment)

    async def run(self) -> None:
        """Go through the phases. Raises `PhaseFailed`."""
        try:
            await self._in_phase("boot", self._boot_timeout, self._first_contact)
            if self._console is not None:
                await self._in_phase("verify", self._boot_timeout, self._verify)
            config = await self._in_phase("identify", _IDENTIFY_SECONDS, self._identify)
            try:
                await self._deliver()
            except NeedsWheels as exc:
                logger.info("%s is sent all wheels: %s", self._instance.name, exc)
                await self._in_phase("upload", float("inf"), self._switch_to_wheels)
                await self._deliver()
            await self._in_phase("start", _START_SECONDS, lambda: self._start(config))
        finally:
            self._upload.close()

    async def exit_report(self) -> str | None:
        """Read the log to its end, if the boot program serves it; return how its worker ended.

        The machine powers off then. None if the worker may be alive.
        """
        with contextlib.suppress(BigmachineError, ConnectionRefusedError):
            has_more = True
            while has_more:
                status = await self._client.call("status", log_offset=self._log.offset)
                has_more = self._take_log(status)
            ended: str | None = status["ended"]
            with contextlib.suppress(BigmachineError, ConnectionRefusedError):
                await self._client.call("abandon", why=ended or "its worker has not come up")
            return ended
        return None

    async def _in_phase(self, phase: str, seconds: float, step: Callable[[], Awaitable[T]]) -> T:
        self.phase = phase
        self._on_progress(phase, 0, 0)
        try:
            with trio.fail_after(seconds):
                return await step()
        except trio.TooSlowError:
            last = self._doubt or self._client.last_error
            because = f"; the last attempt: {last}" if last is not None else ""
            raise PhaseFailed(f"not done after {seconds:.0f} s{because}") from last
        except BootStatusError as exc:
            raise PhaseFailed(str(exc)) from exc

    async def _first_contact(self) -> None:
        self._info = await self._client.first_contact()
        logger.debug("%s: %s", self._instance.name, self._info)

    async def _key(self) -> bytes:
        """Ask for the public key of the machine, which also prints its fingerprint."""
        reply = await self._client.call_until_answered("key")
        return bytes.fromhex(reply["point"])

    async def _verify(self) -> None:
        """Ask for the key until its fingerprint is on the console of the VM itself.

        Anybody who can read the user data can answer at the address of the VM, but only the VM
        writes on its console.
        """
        assert self._console is not None
        line = re.compile(f"key of {re.escape(self._request.session)}: ([0-9a-f]{{64}})")
        has_warned = False
        for pause in backoff():
            point = await self._key()
            fingerprint = hashlib.sha256(point).hexdigest()
            try:
                found = [*dict.fromkeys(line.findall(await self._console()))]
            except BigmachineError as exc:
                raise PhaseFailed(f"its console can't be read: {exc}") from exc
            if fingerprint in found:
                self._point, self._doubt = point, None
                return
            self._doubt = UnverifiedKey(
                f"who answers at {self._instance.address} has the key {fingerprint}, and the "
                f"console of {self._instance.name} shows {', '.join(found) or 'none yet'}"
            )
            if found and not has_warned:
                has_warned = True
                logger.warning("%s", self._doubt)
            await trio.sleep(min(pause, self._timings.period))

    async def _identify(self) -> bytes:
        """Certify the key that the machine makes; return its worker's configuration."""
        name = self._instance.name
        identity = self._request.certify(name, self._point or await self._key())
        for pause in backoff():
            try:
                await self._client.call("identify", certificate=identity.certificate.decode())
                break
            except (TransportError, ConnectionRefusedError, ForeignPeer):
                # The reply may be what was lost: then the machine has its new name already.
                if await self._is_identified(name):
                    break
                await self._client.check_exists()
            await trio.sleep(pause)
        self._client.name = name
        if self._console is not None:  # somebody else may have answered at first
            self._info = await self._client.call_until_answered("info")
        return self._request.remote_config(identity)

    async def _is_identified(self, name: str) -> bool:
        old, self._client.name = self._client.name, name
        try:
            return bool((await self._client.call("info"))["identified"])
        except (BigmachineError, ConnectionRefusedError):
            self._client.name = old
            return False

    async def _deliver(self) -> None:
        """Have the shipment uploaded and built. Raises `NeedsWheels`."""
        await self._in_phase("upload", float("inf"), self._send)
        await self._in_phase("build", self._build_timeout, self._build)

    async def _send(self) -> None:
        self._check_platform()
        await self._upload.run()

    def _check_platform(self) -> None:
        target = self._info["platform"], self._info["machine"]
        if wheels := self._shipment.incompatible_wheels(*target):
            here = self._shipment.environment.target
            raise PhaseFailed(
                f"the machine is {'/'.join(target)} and must be sent wheels, but these are for "
                f"{here.system}/{here.machine}: {', '.join(wheels)}; let the machine reach a "
                "package index that has them, or choose an image of the driver's platform"
            )

    async def _switch_to_wheels(self) -> None:
        """Switch to the shipment that needs no index."""
        await self._upload.drain()
        try:
            shipment = await self._client.keep_alive_during(self._shipment.with_all_wheels)
        except UsageError as exc:
            raise PhaseFailed(f"it has no index, and wheels can't be made: {exc}") from exc
        self._shipment, self._upload = shipment, self._upload_of(shipment)

    def _upload_of(self, shipment: Shipment) -> Upload:
        return Upload(
            self._instance,
            shipment,
            client=self._client,
            timings=self._timings,
            on_progress=lambda done, total: self._on_progress("upload", done, total),
        )

    async def _build(self) -> None:
        await self._client.call_until_answered("build")
        while True:
            status = (await self._status())["build"]
            if status["needs_wheels"]:
                raise NeedsWheels(status["error"])
            if status["error"]:
                raise PhaseFailed(status["error"])
            self._on_progress("build", status["done"], status["total"])
            if status["built"] is not None:
                break
            await trio.sleep(_POLL_SECONDS)
        from ..environment import difference

        content = self._shipment.manifest["content"]
        if status["built"] != content:
            raise PhaseFailed(
                "what was built is not what was requested:\n" + difference(content, status["built"])
            )

    async def _start(self, config: bytes) -> None:
        await self._upload.drain()  # the worker sends no blobs
        while (await self._status())["log"]:  # the rest is read from the worker
            pass
        # If the reply was lost, or the call, the first connection to the worker shows it.
        with contextlib.suppress(TransportError, ConnectionRefusedError):
            await self._client.call("start", config=base64.b64encode(config).decode())

    async def _status(self) -> Any:
        status = await self._client.call_until_answered("status", log_offset=self._log.offset)
        self._take_log(status)
        return status

    def _take_log(self, status: Any) -> bool:
        """Take what a status has of the log; False if that is nothing."""
        data = status["log"].encode("latin-1")
        self._log.take(status["log_offset"], data)
        return bool(data)


class UnverifiedKey(BigmachineError):
    """The key of who answers at a machine's address is not the one on the machine's console."""


class NeedsWheels(PhaseFailed):
    """A machine can't get what an index has, for the reason in the message."""
