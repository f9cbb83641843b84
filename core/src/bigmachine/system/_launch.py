"""The default of the `start` hook: a system's `launch`, for several machines at once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .._values import Instance
from ..errors import StartError

if TYPE_CHECKING:
    from ._request import MachineSpec

logger = logging.getLogger("bigmachine.session")

_AT_ONCE = 32  # more gain nothing on this computer, and providers throttle
_UNDO_TIMEOUT = 120.0  # for a provider to confirm that what was launched is gone


async def launch_each(
    machines: Sequence[MachineSpec],
    *,
    launch: Callable[[MachineSpec], Awaitable[Instance]],
    stop: Callable[[Instance], Awaitable[None]],
) -> Sequence[Instance]:
    """Launch ``machines``; return those that could be, in the given order.

    A machine whose launch failed is stopped, by its name, and so are all when this is
    cancelled. Raises `StartError` if none could be launched.
    """
    import trio

    begun: list[MachineSpec] = []
    launched: dict[str, Instance] = {}
    errors: list[Exception] = []
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def launch_one(machine: MachineSpec) -> None:
        async with limiter:
            begun.append(machine)
            try:
                launched[machine.name] = await launch(machine)
            except Exception as exc:
                errors.append(exc)
                await _undo([machine], stop)

    try:
        async with trio.open_nursery() as nursery:
            for machine in machines:
                nursery.start_soon(launch_one, machine)
    except BaseException:  # cancelled: nobody will ever hold these
        await _undo(begun, stop)
        raise
    if errors and not launched:
        raise _refusal(errors[0]) from errors[0]
    for error in errors:
        logger.warning("a machine can't be launched: %s", _refusal(error))
    return [launched[machine.name] for machine in machines if machine.name in launched]


async def _undo(
    machines: Iterable[MachineSpec], stop: Callable[[Instance], Awaitable[None]]
) -> None:
    """Free whatever there is of ``machines``, all at once."""
    import trio

    async def stop_one(machine: MachineSpec) -> None:
        try:
            await stop(Instance(name=machine.name, address=""))
        except Exception:
            logger.exception("%s: its launch can't be undone", machine.name)

    with trio.move_on_after(_UNDO_TIMEOUT, shield=True) as scope:
        async with trio.open_nursery() as nursery:
            for machine in machines:
                nursery.start_soon(stop_one, machine)
    if scope.cancelled_caught:
        logger.error("launches are not confirmed to be undone after %g s", _UNDO_TIMEOUT)


def _refusal(error: Exception) -> StartError:
    if isinstance(error, StartError):
        return error
    return StartError(f"can't launch a machine: {type(error).__name__}: {error}")
