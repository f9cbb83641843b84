"""How wrong this computer's clock is, by a provider's: signatures and tokens depend on it."""

from __future__ import annotations

import time


def clock_skew(date: str) -> float:
    """Return how many seconds this computer's clock is ahead, by the header Date of an answer.

    It is 0 without a date.
    """
    from email.utils import parsedate_to_datetime  # late: machines need none

    try:
        return time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0
    except ValueError:
        return 0.0
