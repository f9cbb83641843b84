"""Asks all machines of a session the same at once, and does without those that don't answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from .._values import State
from ..errors import UsageError
from ._async import AsyncMachine

T = TypeVar("T")


async def ask_all(
    machines: Sequence[AsyncMachine],
    ask: Callable[[AsyncMachine], Awaitable[T]],
    *,
    timeout: float,
) -> tuple[dict[str, T], dict[str, str]]:
    """Call ``ask`` with each machine that is ``RUNNING``, with ``timeout`` for its calls.

    Returns the answers, and why there is none, both by the machine's name. If there is no answer
    at all, raises the first machine's error, or `UsageError` if no machine runs.
    """
    running = [machine for machine in machines if machine.state is State.RUNNING]
    if not running:
        raise UsageError("no machine of this session is running; start() some first")
    answers: dict[str, T] = {}
    errors: dict[str, Exception] = {}

    async def ask_one(machine: AsyncMachine) -> None:
        try:
            answers[machine.name] = await ask(machine.with_options(timeout=timeout))
        except Exception as exc:
            errors[machine.name] = exc

    async with trio.open_nursery() as nursery:
        for machine in running:
            nursery.start_soon(ask_one, machine)
    if not answers:
        raise next(iter(errors.values()))
    names = [machine.name for machine in running]  # in the order of the machines
    return (
        {name: answers[name] for name in names if name in answers},
        {name: f"{errors[name]}" or repr(errors[name]) for name in names if name in errors},
    )
