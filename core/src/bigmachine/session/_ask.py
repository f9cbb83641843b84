"""Asks all machines of a session the same at once, and does without those that don't answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import trio

from .._values import State
from ..errors import UsageError
from ..machine._async import AsyncMachine

T = TypeVar("T")


async def ask_all(
    machines: Sequence[AsyncMachine],
    ask: Callable[[AsyncMachine], Awaitable[T]],
    *,
    timeout: float | None,
) -> tuple[dict[str, T], dict[str, str]]:
    """Call ``ask`` with each machine that is ``RUNNING``, with ``timeout`` for its calls.

    Returns the answers, and why there is none, as for a machine that is starting; both by the
    machine's name. If there is no answer at all, raises the first machine's error, or `UsageError`
    if no machine runs.
    """
    answers, errors = await ask_running(machines, ask, timeout=timeout)
    if not answers and not errors:
        raise UsageError("no machine of this session is running; start() some first")
    if not answers:
        raise next(iter(errors.values()))
    failures = starting(machines) | {name: reason(error) for name, error in errors.items()}
    names = [machine.name for machine in machines]  # in the order of the machines
    return answers, {name: failures[name] for name in names if name in failures}


async def ask_running(
    machines: Sequence[AsyncMachine],
    ask: Callable[[AsyncMachine], Awaitable[T]],
    *,
    timeout: float | None,
) -> tuple[dict[str, T], dict[str, Exception]]:
    """Call ``ask`` with each machine that is ``RUNNING``; return the answers, and the errors.

    Both are by the machine's name, the answers in the order of the machines.
    """
    answers: dict[str, T] = {}
    errors: dict[str, Exception] = {}

    async def ask_one(machine: AsyncMachine) -> None:
        try:
            answers[machine.name] = await ask(machine.with_options(timeout=timeout))
        except Exception as exc:
            errors[machine.name] = exc

    async with trio.open_nursery() as nursery:
        for machine in machines:
            if machine.state is State.RUNNING:
                nursery.start_soon(ask_one, machine)
    in_order = (machine.name for machine in machines if machine.name in answers)
    return {name: answers[name] for name in in_order}, errors


def starting(machines: Iterable[AsyncMachine]) -> dict[str, str]:
    """Return why those can't be asked yet that are starting, by their names."""
    return {
        machine.name: f"it is still {machine.state}"
        for machine in machines
        if machine.state < State.RUNNING
    }


def reason(error: Exception) -> str:
    """Return why there is no answer."""
    return str(error) or repr(error)
