"""A gate: what bounds how many methods run at once."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

import trio

from ..loop._turns import turn


class Gate:
    """Lets at most ``limit`` in at a time, in the order in which they came; for any thread."""

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._free = limit
        self._queue: OrderedDict[Callable[[], object], None] = OrderedDict()
        self._returning: OrderedDict[Callable[[], object], None] = OrderedDict()

    @property
    def has_queue(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue or self._returning)

    def enter(self, entered: Callable[[], object], *, returns: bool = False) -> bool:
        """Go in, if there is room; else return False, and ``entered`` is called when there is.

        It is called in the thread that leaves, so it must be quick. One that ``returns`` was
        inside before, and goes in before those that were not.
        """
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            (self._returning if returns else self._queue)[entered] = None
            return False

    def enter_at_once(self) -> bool:
        """Go in, if there is room; else return False."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            return False

    def give_up(self, entered: Callable[[], object]) -> bool:
        """Leave the queue; False if it is not in it, perhaps because it has just gone in."""
        with self._lock:
            for queue in (self._queue, self._returning):
                if entered in queue:
                    del queue[entered]
                    return True
            return False

    def leave(self) -> None:
        """Go out, and let the next one in."""
        with self._lock:
            queue = self._returning or self._queue
            if not queue:
                self._free += 1
                return
            entered, _ = queue.popitem(last=False)
        entered()

    @contextlib.asynccontextmanager
    async def inside(self) -> AsyncIterator[None]:
        """Go in for the time of the block, in a trio task; see `without_turn`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        mine = _TaskTurn(self)
        await mine.take(returns=False)
        token = turn.set(mine)
        try:
            yield
        finally:
            turn.reset(token)
            self.leave()


class _TaskTurn:
    """The turn of a task that is inside a gate."""

    def __init__(self, gate: Gate) -> None:
        self.task = trio.lowlevel.current_task()
        self._gate = gate

    def give_up(self) -> None:
        self._gate.leave()

    async def take_again(self) -> None:
        await self.take(returns=True)

    async def take(self, *, returns: bool) -> None:
        token, has_entered = trio.lowlevel.current_trio_token(), trio.Event()

        def entered() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(has_entered.set)

        if not self._gate.enter(entered, returns=returns):
            try:
                await has_entered.wait()
            except BaseException:
                if not self._gate.give_up(entered):
                    self._gate.leave()
                raise
