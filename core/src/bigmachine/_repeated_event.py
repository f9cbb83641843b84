"""An event that can be set again and again."""

from __future__ import annotations

from trio.lowlevel import ParkingLot


class RepeatedEvent:
    """Wakes the tasks that wait for something to change, each time that it does.

    Nothing is remembered: a task that waits later waits for the next `set`. So wait in a loop::

        while not condition():
            await changed.wait()
    """

    def __init__(self) -> None:
        self._waiting = ParkingLot()

    def set(self) -> None:
        """Wake all tasks that wait now."""
        self._waiting.unpark_all()

    async def wait(self) -> None:
        """Wait until `set` is called."""
        await self._waiting.park()
