"""The program of the reaper process; its order is on standard input."""

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
import threading
import time
from typing import TYPE_CHECKING, Any

from .._driver import Driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..system import Instance, System

_LOOK_SECONDS = 1.0  # between two looks at the driver
_QUIET_SECONDS = 45.0  # while nothing is found: what was made last may not be visible yet
_PAUSE_SECONDS = 5.0
_MOST_SECONDS = 1800.0  # for all; then it is up to `bigmachine reap`


def main(header: dict[str, Any]) -> None:
    """Wait for the driver's end; then free its leftovers, unless it said that there are none."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    line, has_more = _read_order(0)
    if has_more or not line:
        return  # dismissed, or the driver died before it had made anything
    order = json.loads(line)
    _ask_for_scope()
    if not is_dismissed(0, Driver.parse(order["driver"])):
        import traceback

        import trio

        from ._log import ReaperLog

        # Last: a system that is defined there can be found, but nothing of ours.
        sys.path += header["relative"]
        try:
            system_class, options = pickle.loads(base64.b64decode(order["system"]))
            trio.run(reap, system_class(options), order["session"])
        except Exception:
            ReaperLog(order["session"]).note(traceback.format_exc())


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
    """Free all resources of a session, until none is found any more.

    What can't be listed or freed is in the session's `ReaperLog`, which is removed at the end.
    """
    import trio

    from ..errors import IncompleteListError
    from ..system._plugins import Plugins
    from ._free import by_kind, free, reason
    from ._log import ReaperLog

    log = ReaperLog(session)

    async def attempt(leftover: Instance) -> None:
        if problem := await free(hooks, leftover):
            log.note(f"{leftover.kind} {leftover.id or leftover.name} can't be freed: {problem}")

    hooks = Plugins(system).hooks
    with trio.move_on_after(_MOST_SECONDS) as scope:
        last_seen = trio.current_time()
        while trio.current_time() < last_seen + _QUIET_SECONDS:
            found: Sequence[Instance] = ()
            is_complete = False
            try:
                found = await hooks.instances()
                is_complete = True
            except IncompleteListError as error:
                found = error.found
                log.note(f"this may not be all: {error}")
            except Exception as exc:  # there may be leftovers, so it is asked again
                log.note(f"can't list what is left: {reason(exc)}")
            leftovers = [one for one in found if one.session == session]
            if leftovers or not is_complete:
                last_seen = trio.current_time()
            for kind in by_kind(leftovers):
                async with trio.open_nursery() as nursery:
                    for leftover in kind:
                        nursery.start_soon(attempt, leftover)
            await trio.sleep(_PAUSE_SECONDS)
    if scope.cancelled_caught:
        log.note(f"gave up after {_MOST_SECONDS:g} s; `bigmachine reap` frees the rest")
    await hooks.shutdown()
    if not scope.cancelled_caught:
        log.forget()


def _ask_for_scope() -> None:
    """Ask systemd, where there is one, for a scope of this process's own; do not wait for it.

    What ends the driver with all processes of its unit, such as a logout or ``systemctl stop``,
    then leaves this process running. ``systemd-run --scope`` makes the same request.
    """
    if not os.path.isdir(_SYSTEMD):
        return
    pid = str(os.getpid())
    arguments = ["busctl", "--system" if os.geteuid() == 0 else "--user", "call", *_START_UNIT]
    arguments += [f"bigmachine-reaper-{pid}.scope", "fail", "2", "PIDs", "au", "1", pid]
    arguments += ["CollectMode", "s", "inactive-or-failed", "0"]
    try:
        busctl = os.posix_spawnp(arguments[0], arguments, os.environ)
    except OSError:
        return
    threading.Thread(target=os.waitpid, args=(busctl, 0), daemon=True).start()


_SYSTEMD = "/run/systemd/system"  # see sd_booted(3)
_START_UNIT = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
    "StartTransientUnit",
    "ssa(sv)a(sa(sv))",  # name, mode, properties, further units
)


def _read_order(fd: int) -> tuple[bytes, bool]:
    """Read a line, empty if it does not end; return it, and whether anything follows it."""
    received = b""
    while b"\n" not in received:
        if not (part := os.read(fd, 1 << 16)):
            return b"", False
        received += part
    line, _, rest = received.partition(b"\n")
    return line, bool(rest)
