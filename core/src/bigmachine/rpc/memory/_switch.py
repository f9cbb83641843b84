"""Whether processes of one host share memory for large buffers: a switch of the user's."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys

from ..._switches import is_switched_on, read_switch

VARIABLE = "BIGMACHINE_SHARED_MEMORY"
"""Off, or on, which is the default."""


def is_on() -> bool:
    """Whether this process may share memory, and can: only Linux has what it takes."""
    return is_switched_on(os.environ.get(VARIABLE, "")) is not False and _is_possible()


def environ() -> dict[str, str]:
    """Return the variable for new machines, if this process has it; `UsageError` if it is bad."""
    read_switch(VARIABLE, default=True)
    return {VARIABLE: text} if (text := os.environ.get(VARIABLE)) else {}


@functools.cache
def _is_possible() -> bool:
    return (
        sys.platform == "linux"
        and hasattr(os, "memfd_create")
        and importlib.util.find_spec("_ctypes") is not None  # a Python may be built without it
    )
