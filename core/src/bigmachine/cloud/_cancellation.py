"""Changes of unknown outcome whose caller is cancelled: they are repeated, but not for long."""

from __future__ import annotations

import math

import trio

CANCELLED_SECONDS = 30.0
"""For how long a change is repeated to learn its outcome, once its caller is cancelled."""


def is_cancelled(scope: trio.CancelScope) -> bool:
    """Whether the current task is cancelled from outside this scope, which is not a shield then."""
    scope.shield = False
    return trio.current_effective_deadline() == -math.inf
