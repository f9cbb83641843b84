"""The driver's file descriptors: each is closed once, and forked children keep none."""

from __future__ import annotations

import os

from bigmachine.process import close_in_children


class Descriptor:
    """One open file descriptor; ``number`` is -1 once it is closed."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        close_in_children(self)

    def fileno(self) -> int:
        """Return the descriptor's number."""
        return self.number

    def close(self) -> None:
        """Close it. Idempotent."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    __del__ = close


def pipe() -> tuple[Descriptor, Descriptor]:
    """Open a pipe and return its reading and its writing end."""
    reading, writing = os.pipe()
    return Descriptor(reading), Descriptor(writing)
