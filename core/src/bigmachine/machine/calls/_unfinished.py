"""A call that could not be finished in its caller's thread alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from outcome import Outcome


class Unfinished(NamedTuple):
    """What the loop goes on from: the outcome of a ``first`` attempt, if there was one.

    And the call's ``deadline`` by the clock of time limits, if it has begun.
    """

    first: Outcome[Any] | None = None
    deadline: float | None = None


UNTRIED = Unfinished()
"""Nothing was sent, and no time has passed."""
