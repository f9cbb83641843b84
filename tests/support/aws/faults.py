"""What tests arrange: requests that are refused, answered otherwise, or whose answers are lost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.aws.wire import Answer, Parameters, error, is_dry_run, reply


@dataclass
class Fault:
    """What happens to the next ``times`` requests of an action for which ``when`` holds."""

    action: str
    answer: Callable[[Parameters], bytes | None]  # None: moto's own, which is then lost
    status: int
    times: int
    when: Callable[[Parameters], bool]


@dataclass
class Faults:
    """The faults of the requests to come."""

    _faults: list[Fault] = field(default_factory=list)
    _edits: list[tuple[str, Callable[[bytes], bytes]]] = field(default_factory=list)

    def refuse(
        self,
        action: str,
        code: str,
        message: str | Callable[[Parameters], str] = "as the test wants it",
        *,
        status: int = 400,
        times: int = 1,
        when: Callable[[Parameters], bool] = lambda parameters: True,
    ) -> None:
        """Have the next requests of an action refused."""

        def answer(parameters: Parameters) -> bytes:
            return error(code, message if isinstance(message, str) else message(parameters))

        self._faults.append(Fault(action, answer, status, times, when))

    def answer(self, action: str, answer: Callable[[Parameters], bytes]) -> None:
        """Have all requests of an action but rehearsals answered by this, in place of moto."""
        self._faults.append(Fault(action, answer, 200, sys.maxsize, lambda p: not is_dry_run(p)))

    def edit(self, action: str, edit: Callable[[bytes], bytes]) -> None:
        """Change the content of an action's answers."""
        self._edits.append((action, edit))

    def lose_answer(self, action: str, *, times: int = 1) -> None:
        """Have the next requests of an action carried out, and answered by no more than a 503."""
        self._faults.append(Fault(action, lambda _: None, 503, times, lambda _: True))

    def clear_faults(self) -> None:
        """Take them back."""
        self._faults.clear()
        self._edits.clear()

    def next_fault(self, action: str, parameters: Parameters) -> Fault | None:
        """Return the fault of a request, which is then used up once."""
        for fault in self._faults:
            if fault.times and fault.action == action and fault.when(parameters):
                fault.times -= 1
                return fault
        return None

    def edited(self, action: str, answer: Answer) -> Answer:
        """Return an answer as tests want it."""
        for edited, edit in self._edits:
            if edited == action:
                answer = reply(int(answer[0][:3]), edit(answer[2]))
        return answer
