"""The services of these tests; a module by itself, since machines import it: it must be light."""

from __future__ import annotations

import os
import subprocess
import threading

from tests.support.services import Echo


class Basic(Echo):
    def pid(self):
        return os.getpid()

    def eat(self, n_bytes):
        self.memory = bytearray(n_bytes)

    def lock(self):
        return threading.Lock()

    def children(self):
        """Start a process of our own and leave it running."""
        return subprocess.Popen(["sleep", "1000"]).pid


class FailsOnTheMachine:
    """Travels well, arrives badly."""

    def __init__(self):
        self.driver = os.getpid()

    def __reduce__(self):
        return _arrive, ()


def _arrive():
    raise ImportError("No module named 'driver_only'")


class Mapper:
    """Streams both ways at once."""

    async def double(self, numbers):
        async for number in numbers:
            yield 2 * number

    def first(self, numbers):
        """Return before all has been read."""
        return next(numbers)

    def shout(self, file):
        for line in file:
            yield line.decode().upper()
