"""How a machine ends: as its driver or a signal says, or because the driver is silent."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from ..rpc import until_silent

logger = logging.getLogger("bigmachine.machine")

_ROUND_SECONDS = 0.002  # the reply to a POST is not counted, but sent within this time
_PARTING_SECONDS = 1.0  # to send replies, if the network is slow or the peer does not read


class Ending:
    """Ends a machine in good order, once: on `begin`, or if its driver is silent for ``timeout``.

    ``finish`` does what the machine does last, and ``flush`` sends the pending replies, in at most
    so many seconds; then ``exit`` ends it. ``heard`` is called at each sign of life of the driver;
    ``driver_heard`` tells when the driver sent something last, on trio's clock.
    """

    def __init__(
        self,
        *,
        timeout: float,
        finish: Callable[[], Awaitable[None]],
        flush: Callable[[float], Awaitable[None]],
        heard: Callable[[], object],
        driver_heard: Callable[[], float],
        exit: Callable[[int], object],
    ) -> None:
        self.has_finished = trio.Event()
        """Set when all but the machine's exit is done."""
        self._timeout = timeout
        self._finish = finish
        self._flush = flush
        self._heard = heard
        self._driver_heard = driver_heard
        self._exit = exit
        self._exit_code = 0
        self._begun = trio.Event()
        self._asked_at = trio.current_time()  # by a keepalive

    def postpone(self, timeout: float) -> None:
        """Wait for the driver for ``timeout`` seconds more, from now on."""
        self._asked_at = max(self._asked_at, trio.current_time() + timeout - self._timeout)
        self._heard()

    def begin(self, code: int) -> None:
        """Have `watch` end the machine with this exit status; the first call counts."""
        if not self._begun.is_set():
            self._exit_code = code
            self._begun.set()

    async def watch(self) -> None:
        """Wait until the machine is to end; then end it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._begin_if_driver_is_silent)
            await self._begun.wait()
            logger.debug("ending with status %d", self._exit_code)
            nursery.cancel_scope.cancel()
        self._heard()  # the boot program gives it more time
        try:
            await self._finish()
        except Exception:
            logger.exception("the machine could not end in good order")
        self.has_finished.set()
        await trio.sleep(_ROUND_SECONDS)
        await self._flush(_PARTING_SECONDS)
        self._exit(self._exit_code)

    async def _begin_if_driver_is_silent(self) -> None:
        await until_silent(self._driver_alive_at, self._timeout)
        if not self._begun.is_set():
            logger.error("no keepalive came in time: this machine ends itself")
            self.begin(1)

    def _driver_alive_at(self) -> float:
        # A keepalive may wait behind thousands of calls, but these show as much.
        if (heard_at := self._driver_heard()) > self._asked_at:
            self._heard()
        return max(self._asked_at, heard_at)
