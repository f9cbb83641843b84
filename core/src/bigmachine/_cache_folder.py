"""Where a user's caches and reports are: what all of the user's sessions share, and can lose."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``bigmachine`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; it may not exist yet.

    Raises `OSError` if the user has no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(base):
        raise OSError("there is no home folder; XDG_CACHE_HOME can name another one")
    return Path(base, "bigmachine")
