"""Whether processes of one host share memory for large buffers: a switch of the user's."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys

from ..errors import UsageError

VARIABLE = "BIGMACHINE_SHARED_MEMORY"
"""``"0"`` switches it off; ``"1"`` is the default."""


def is_on() -> bool:
    """Whether this process may share memory, and can: only Linux has what it takes."""
    return os.environ.get(VARIABLE) != "0" and _is_possible()


def environ() -> dict[str, str]:
    """Return the variable for new machines, if this process has it; `UsageError` if it is bad."""
    if (text := os.environ.get(VARIABLE)) is None:
        return {}
    if text not in ("0", "1"):
        raise UsageError(
            f"{VARIABLE} is 0 or 1: whether processes of one host share memory for large arguments "
            f"and results, as they do if it is not set; not {text!r}"
        )
    return {VARIABLE: text}


@functools.cache
def _is_possible() -> bool:
    return (
        sys.platform == "linux"
        and hasattr(os, "memfd_create")
        and importlib.util.find_spec("_ctypes") is not None  # a Python may be built without it
    )
