"""Keeps a program from opening a session when a machine imports it to load its service."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ..errors import UsageError

_thread = threading.local()  # imports run in the thread that unpickles the service


@contextlib.contextmanager
def loading(service: str) -> Iterator[None]:
    """Mark the block in which a machine loads the service of this name."""
    _thread.service = service
    try:
        yield
    finally:
        _thread.service = ""


def check_not_loading() -> None:
    """Raise `UsageError` in such a block."""
    if service := getattr(_thread, "service", ""):
        raise UsageError(
            f"a machine that imports the module of service {service!r} would open a session of "
            'its own: put what opens sessions below `if __name__ == "__main__":`'
        )
