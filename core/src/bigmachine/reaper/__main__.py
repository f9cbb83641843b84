"""The reaper process, ``python -m bigmachine.reaper``; its order is on standard input."""

from __future__ import annotations

# What is needed only to free leftovers is imported then: nearly all reapers are dismissed, and
# each lives as long as its session.
import base64
import json
import os
import pickle
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from .._driver import Driver

if TYPE_CHECKING:
    from ..system import System

_LOOK_SECONDS = 1.0  # between two looks at the driver
_QUIET_SECONDS = 45.0  # while nothing is found: what was made last may not be visible yet
_PAUSE_SECONDS = 5.0
_MOST_SECONDS = 1800.0  # for all; then it is up to `bigmachine reap`


def main() -> None:
    """Wait for the driver's end; then free its leftovers, unless it said that there are none."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    line, has_more = _read_order(0)
    if has_more or not line:
        return  # dismissed, or the driver died before it had made anything
    order = json.loads(line)
    if not is_dismissed(0, Driver.parse(order["driver"])):
        import trio

        sys.path[:] = dict.fromkeys([*order["path"], *sys.path])
        system_class, options = pickle.loads(base64.b64decode(order["system"]))
        trio.run(reap, system_class(options), order["session"])


def is_dismissed(fd: int, driver: Driver) -> bool:
    """Wait until the driver is dead, or says on ``fd`` that it is done; return whether it did."""
    is_open = True
    while True:
        if is_open and select.select([fd], [], [], _LOOK_SECONDS)[0]:
            if os.read(fd, 64):
                return True
            is_open = False
        # The end of the pipe alone doesn't tell: children that it forked hold it open.
        is_alive = driver.is_alive()
        if is_alive is False or (is_alive is None and not is_open):
            return False
        if not is_open:
            time.sleep(_LOOK_SECONDS)


async def reap(system: System, session: str) -> None:
    """Free all resources of a session, until none is found any more."""
    import trio

    from ..system._plugins import Plugins
    from ._free import by_kind, free

    hooks = Plugins(system).hooks
    with trio.move_on_after(_MOST_SECONDS):
        last_seen = trio.current_time()
        while trio.current_time() < last_seen + _QUIET_SECONDS:
            try:
                leftovers = [one for one in await hooks.instances() if one.session == session]
            except Exception:  # whatever it was: there may be leftovers, so it is asked again
                last_seen = trio.current_time()
            else:
                if leftovers:
                    last_seen = trio.current_time()
                for kind in by_kind(leftovers):
                    async with trio.open_nursery() as nursery:
                        for leftover in kind:
                            nursery.start_soon(free, hooks, leftover)
            await trio.sleep(_PAUSE_SECONDS)
    await hooks.shutdown()


def _read_order(fd: int) -> tuple[bytes, bool]:
    """Read a line, empty if it does not end; return it, and whether anything follows it."""
    received = b""
    while b"\n" not in received:
        if not (part := os.read(fd, 1 << 16)):
            return b"", False
        received += part
    line, _, rest = received.partition(b"\n")
    return line, bool(rest)


if __name__ == "__main__":
    main()
