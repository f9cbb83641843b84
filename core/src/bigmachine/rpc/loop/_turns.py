"""What an exclusive ``async def`` method gives up while it waits for a call of its own."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import trio
from trio.lowlevel import current_task

T = TypeVar("T")


class Turn(Protocol):
    """The right of a task to run, which it can give up for a while."""

    task: trio.lowlevel.Task

    def give_up(self) -> None: ...
    async def take_again(self) -> None: ...


turn: ContextVar[Turn | None] = ContextVar("turn", default=None)
"""What this task has; its child tasks see it, too, and do not have it."""


def without_turn(waiting: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Return what waits, and lets others run meanwhile in the turn that this task may have."""
    mine = turn.get()
    return waiting if mine is None else _wait_without(mine, waiting)


async def _wait_without(mine: Turn, waiting: Coroutine[Any, Any, T]) -> T:
    if mine.task is not current_task():
        return await waiting
    mine.give_up()
    try:
        return await waiting
    finally:
        # When cancelled, too: what the method does then must be exclusive.
        with trio.CancelScope(shield=True):
            await mine.take_again()
