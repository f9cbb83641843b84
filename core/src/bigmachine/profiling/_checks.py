"""Checks of what a profile is asked for, on the driver and again on the machine."""

from __future__ import annotations

import math
import numbers

from ..errors import UsageError

MAX_SECONDS = 24 * 3600.0
MAX_HZ = 1000.0


def check_sampling(seconds: object, hz: object) -> None:
    """Check how long and how often to sample; raises `UsageError`."""
    if not 0 < _number(seconds) <= MAX_SECONDS:
        raise UsageError(f"seconds is how long to profile, above 0, up to a day; not {seconds!r}")
    if not 0 < _number(hz) <= MAX_HZ:
        raise UsageError(f"hz is how often a second, above 0, up to {MAX_HZ:g}; not {hz!r}")


def check_heap(seconds: object) -> None:
    """Check how long to trace allocations; raises `UsageError`."""
    if not 0 <= _number(seconds) <= MAX_SECONDS:
        raise UsageError(
            "seconds is how long to trace what is allocated, up to a day, or 0 for all that is "
            f"there; not {seconds!r}"
        )


def _number(value: object) -> float:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return float(value) if is_number else math.nan  # type: ignore[arg-type]
