"""Calls to a boot program that are repeated until it answers, or is known to be gone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from .._backoff import backoff
from .._values import Diagnose, Keepalive
from ..errors import BigmachineError, TransportError
from ..rpc import ForeignPeer
from ._client import BootClient

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

logger = logging.getLogger("bigmachine.boot")

_LONGEST_PAUSE = 1.0  # between two calls to a VM that will answer soon


class RetryingClient(BootClient):
    """A `BootClient` that bounds each call in time, and repeats those that may be repeated.

    ``timings`` say how long a call may take, and how long the machine may be silent.
    ``diagnose`` returns why the machine is gone, if its system knows that.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        address: str,
        name: str,
        timings: Keepalive,
        diagnose: Diagnose,
    ) -> None:
        super().__init__(http, address=address, name=name)
        self._timings = timings
        self._diagnose = diagnose
        self.last_error: Exception | None = None
        """Why the latest call failed, if it did: for when there is no time for another one."""

    async def call(self, method: str, **arguments: Any) -> Any:
        """Call ``Boot.method`` once."""
        # A manifest may have megabytes, and the link may be slow.
        timings = self._timings
        seconds = timings.timeout if method == "plan" else timings.rpc_timeout
        with trio.move_on_after(seconds):
            return await super().call(method, **arguments)
        raise TransportError(f"no answer in {seconds:g} s")

    async def first_contact(self) -> Any:
        """Call ``Boot.info`` until the boot program answers, however long that takes."""
        return await self._call_until_answered("info", {}, since=float("inf"))

    async def call_until_answered(self, method: str, **arguments: Any) -> Any:
        """Call ``Boot.method``, which may be repeated, until there is an answer.

        Raises `PhaseFailed` when the machine is gone, or was silent for too long.
        """
        return await self._call_until_answered(method, arguments, since=trio.current_time())

    async def keep_alive_during(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Wait for something that may take long, and keep the machine alive meanwhile.

        ``wait`` is cancelled and called again, once in each keepalive period.
        """
        while True:
            with trio.move_on_after(self._timings.period):
                return await wait()
            await self.call_until_answered("keepalive")

    def check_silence(self, since: float, exc: Exception) -> None:
        """Raise if nothing was heard ``since`` then, for as long as the machine itself waits."""
        silence = trio.current_time() - since
        if silence >= self._timings.timeout:
            raise PhaseFailed(f"it was silent for {silence:.0f} s: {exc}") from exc

    async def check_exists(self) -> None:
        """Raise if the system knows that the machine is gone."""
        if (termination := await self._diagnose()) is not None:
            raise PhaseFailed(termination.detail)

    async def _call_until_answered(
        self, method: str, arguments: dict[str, Any], *, since: float
    ) -> Any:
        for pause in backoff():
            try:
                reply = await self.call(method, **arguments)
                self.last_error = None
                return reply
            # Who does not prove to be this machine may have its address for now: an earlier VM,
            # a proxy, somebody who means harm.
            except (TransportError, ConnectionRefusedError, ForeignPeer) as exc:
                self.last_error = exc
                logger.debug("%s: %s: %s", self.name, method, exc)
                await self.check_exists()
                self.check_silence(since, exc)
            await trio.sleep(min(pause, _LONGEST_PAUSE))
        raise AssertionError("the backoff has no end")


class PhaseFailed(BigmachineError):
    """A phase of a boot failed, for the reason in the message."""
