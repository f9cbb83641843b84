"""Files that commands write: only their user can read them."""

from __future__ import annotations

import functools
import os


def write_private(path: str, data: bytes) -> None:
    """Write a file, or replace it; a new one can be read by this user alone. Raises `OSError`."""
    with open(path, "wb", opener=functools.partial(os.open, mode=0o600)) as file:
        file.write(data)
