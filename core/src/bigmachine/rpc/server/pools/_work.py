"""What runs for a call, as the call sees it."""

from __future__ import annotations

from typing import Protocol


class Work(Protocol):
    """What runs for a call: a task, a thread, a generator or a process."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing runs any longer."""

    @property
    def is_uncancellable(self) -> bool:
        """Whether it is a method in a thread, which ends when it wants to."""

    def cancel(self) -> object:
        """End it, if it can be ended; nobody waits for it any longer."""
