"""An emulated cloud, as tests see it: what they asked of it, and what happens to later calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.support.emulation.faults import FOREVER, Fault, Faults
from tests.support.emulation.timeline import Timeline


class EmulatedCloud:
    """What each cloud has for tests; ``asked`` are all calls that there were."""

    lost_answer: Exception
    """What a client is answered whose call was carried out, and whose answer was lost: a 503."""
    asked: list[Any]
    faults: Faults
    timeline: Timeline

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def refuse(
        self,
        method: str,
        error: Exception,
        *,
        times: int = 1,
        when: Callable[[Any], bool] = lambda call: True,
    ) -> None:
        """Have the next calls of a method refused; ``*`` is any method."""
        self.faults.pending.append(Fault(method, error, False, times, when))

    def refuse_always(self, method: str, error: Exception) -> None:
        """Have all calls of a method refused."""
        self.refuse(method, error, times=FOREVER)

    def lose_answer(self, method: str, *, times: int = 1) -> None:
        """Have the next calls of a method carried out, and answered by no more than a 503."""
        self._lose(method, self.lost_answer, times)

    def lose_connection(self, method: str, *, times: int = 1) -> None:
        """Have the next calls of a method carried out, and their connections closed."""
        self._lose(method, ConnectionResetError(), times)

    def edit(self, method: str, edit: Callable[[Any], Any]) -> None:
        """Change the answers of a method."""
        self.faults.edits.setdefault(method, []).append(edit)

    def hold(self, *methods: str) -> None:
        """Have calls of these methods, carried out, not answer until `release`."""
        self.faults.held_methods.update(methods)
        self.faults.held.clear()
        self.faults.gate.clear()

    def release(self) -> None:
        """Have the calls answered that are held up."""
        self.faults.gate.set()

    def advance(self, seconds: float) -> None:
        """Set its clock forward; all happens that is due, each at its own time."""
        with self._lock:
            self.timeline.advance_through(seconds)

    def count(self, method: str) -> int:
        """Return how often a method was called."""
        return len(self.calls(method))

    def calls(self, method: str) -> list[Any]:
        """Return the calls of a method."""
        return [call for call in self.asked if call.method == method]

    def _lose(self, method: str, error: Exception, times: int) -> None:
        self.faults.pending.append(Fault(method, error, True, times, lambda call: True))
