"""Says where the options of a call go, if they were given to a method that does not take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OPTIONS = {"timeout": "timeout=5", "retry": "retry=True", "retries": "retry=True"}


def hint_at_options(error: TypeError, kwargs: Mapping[str, Any]) -> None:
    """Add a note to what a call with ``kwargs`` raised, if it is such a mistake."""
    for name, example in _OPTIONS.items():
        if name in kwargs and f"unexpected keyword argument '{name}'" in str(error):
            error.add_note(
                "Keywords go to the method. For a time limit or repetitions of the call itself: "
                f"machine.with_options({example}).call(...)"
            )
