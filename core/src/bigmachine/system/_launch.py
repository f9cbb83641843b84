"""The default of the hook `start`: call a system's `launch` for many machines at once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .._values import Instance
from ..errors import StartError

if TYPE_CHECKING:
    from ._request import MachineSpec

logger = logging.getLogger("bigmachine.session")

_AT_ONCE = 32  # more are no faster on this computer, and providers throttle
_UNDO_TIMEOUT = 120.0  # for a provider to confirm that the machines are gone


async def launch_each(
    machines: Sequence[MachineSpec],
    *,
    launch: Callable[[MachineSpec], Awaitable[Instance]],
    stop: Callable[[Instance], Awaitable[None]],
) -> Sequence[Instance]:
    """Launch ``machines``; return those that were launched, in the given order.

    If a launch fails, ``stop`` is called for that machine, with an `Instance` of its name
    and an empty address. If this is cancelled, ``stop`` is called for all of them. Raises
    `StartError` if no machine was launched.
    """
    import trio

    started: list[MachineSpec] = []
    launched: dict[str, Instance] = {}
    errors: list[Exception] = []
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def launch_one(machine: MachineSpec) -> None:
        async with limiter:
            started.append(machine)
            try:
                launched[machine.name] = _checked(await launch(machine))
            except Exception as exc:
                errors.append(exc)
                await _undo([machine], stop)

    try:
        async with trio.open_nursery() as nursery:
            for machine in machines:
                nursery.start_soon(launch_one, machine)
    except BaseException:  # cancelled: nobody will use these machines
        await _undo(started, stop)
        raise
    if errors and not launched:
        raise _start_error(errors[0]) from errors[0]
    for error in errors:
        logger.warning("a machine was not launched: %s", _start_error(error))
    return [launched[machine.name] for machine in machines if machine.name in launched]


def _checked(launched: object) -> Instance:
    if not isinstance(launched, Instance):
        raise TypeError(f"launch must return a bigmachine.Instance, not {launched!r}")
    return launched


async def _undo(
    machines: Iterable[MachineSpec], stop: Callable[[Instance], Awaitable[None]]
) -> None:
    """Stop ``machines``, all at once."""
    import trio

    async def stop_one(machine: MachineSpec) -> None:
        try:
            await stop(Instance(name=machine.name, address=""))
        except Exception:
            logger.exception("%s was not launched, and freeing it failed", machine.name)

    with trio.move_on_after(_UNDO_TIMEOUT, shield=True) as scope:
        async with trio.open_nursery() as nursery:
            for machine in machines:
                nursery.start_soon(stop_one, machine)
    if scope.cancelled_caught:
        logger.error(
            "machines that were not launched may still exist: no confirmation after %g s",
            _UNDO_TIMEOUT,
        )


def _start_error(error: Exception) -> StartError:
    if isinstance(error, StartError):
        return error
    return StartError(f"cannot launch a machine: {type(error).__name__}: {error}")
