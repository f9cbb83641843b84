"""What a test arranges for later requests: refusals, and answers that are lost or edited."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

FOREVER = sys.maxsize


class Call(Protocol):
    """A call of a cloud's method."""

    @property
    def method(self) -> str: ...


@dataclass
class Fault:
    """What happens to the next ``times`` calls of a method for which ``when`` holds."""

    method: str
    error: Exception
    """What the caller is answered."""
    is_carried_out: bool
    """Whether what was asked for is done, and only its answer is lost."""
    times: int
    when: Callable[[Any], bool]


@dataclass
class Faults:
    """All of them; each cloud has functions that add them."""

    pending: list[Fault] = field(default_factory=list)
    edits: dict[str, list[Callable[[Any], Any]]] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    """While it isn't set, a call of `held_methods`, carried out, does not answer."""
    held: threading.Event = field(default_factory=threading.Event)
    """Set once a call is held up by the gate."""
    held_methods: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.gate.set()

    def next(self, call: Call) -> Fault | None:
        """Return what happens to this call, if anything."""
        for fault in self.pending:
            if fault.method in (call.method, "*") and fault.times > 0 and fault.when(call):
                fault.times -= 1
                return fault
        return None

    def edit(self, call: Call, answer: Any) -> Any:
        for edit in self.edits.get(call.method, ()):
            answer = edit(answer)
        return answer

    def hold(self, call: Call) -> None:
        if call.method in self.held_methods and not self.gate.is_set():
            self.held.set()
            self.gate.wait(60)
