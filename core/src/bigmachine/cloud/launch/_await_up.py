"""After a launch: waiting until instances are up, and telling why some did not come up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import trio

from ...errors import StartError
from ..requests._backoff import poll_intervals
from ..requests._batch import for_each

_TIMEOUT = 120.0  # an address comes within seconds of the launch
_SHOWN = 3  # failures in an error: most often all are alike


class NewVm(Protocol):
    """A new instance, as a backend describes it: ``name`` is its machine's full name."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def has_ended(self) -> bool: ...


VmT = TypeVar("VmT", bound=NewVm)


async def await_up(
    vms: Sequence[VmT],
    *,
    describe: Callable[[VmT], Awaitable[VmT | None]],
    is_up: Callable[[VmT], bool],
) -> tuple[list[VmT], list[VmT]]:
    """Wait until instances are up, as when they have addresses: two minutes at most.

    Returns those that are up, and the others, as they are then, each in the order of ``vms``. One
    that has ended is not waited for. ``describe`` returns an instance as it is now, or None while
    it is not found. Raises what that raises.
    """
    latest = {vm.id: vm for vm in vms}

    async def await_one(vm: VmT) -> None:
        for delay in poll_intervals():
            if vm.has_ended or is_up(vm):
                return
            latest[vm.id] = vm = await describe(vm) or vm
            if not (vm.has_ended or is_up(vm)):
                await trio.sleep(delay)

    await trio.lowlevel.checkpoint()  # a start that was cancelled meanwhile ends here
    with trio.move_on_after(_TIMEOUT):
        await for_each(vms, await_one)
    up = [vm for vm in latest.values() if is_up(vm) and not vm.has_ended]
    ids = {vm.id for vm in up}
    return up, [vm for vm in latest.values() if vm.id not in ids]


def report_down(
    up: Sequence[VmT],
    down: Sequence[VmT],
    *,
    why: Callable[[VmT], str],
    logger: logging.Logger,
) -> None:
    """Log why instances did not come up: ``why`` says it of each. Raises `StartError` if all."""
    failures = [f"{vm.name} ({vm.id.rpartition('/')[2]}) did not come up: {why(vm)}" for vm in down]
    if not up:
        more = f"; and {len(failures) - _SHOWN} more did not" if len(failures) > _SHOWN else ""
        raise StartError("; ".join(failures[:_SHOWN]) + more)
    for failure in failures:
        logger.warning("%s", failure)
