"""How wrong this computer's clock is, by a provider's: signatures and tokens depend on it."""

from __future__ import annotations

import time

# Seconds that AWS accepts: "in most cases, a request must reach AWS within five minutes of the time
# stamp in the request" ("AWS Signature Version 4 for API requests"). Azure's libraries accept as
# many (TokenValidationParameters.ClockSkew), and Google speaks of "a reasonable timeframe".
_MAX_SKEW = 300.0


def clock_skew(date: str) -> float:
    """Return how many seconds this computer's clock is ahead, by the header Date of an answer.

    It is 0 without a date.
    """
    from email.utils import parsedate_to_datetime  # late: machines need none

    try:
        return time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0
    except ValueError:
        return 0.0


def clock_advice(skew: float, provider: str) -> str:
    """Return what to do about a clock that is ``skew`` seconds ahead of a provider's.

    It is "" if that does no harm. ``provider`` is a name such as ``"Azure"``.
    """
    if abs(skew) <= _MAX_SKEW:
        return ""
    minutes = f"{abs(skew) / 60:.0f} minutes"
    direction = "ahead of" if skew > 0 else "behind"
    return f"this computer's clock is {minutes} {direction} {provider}'s: set it right"
