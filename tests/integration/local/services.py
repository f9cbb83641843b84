"""The services of these tests, in a module of their own, which machines import quickly."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from tests.support.services import Echo


class Basic(Echo):
    def pid(self):
        return os.getpid()

    def switch_interval(self):
        return sys.getswitchinterval()

    def eat(self, n_bytes):
        self.memory = bytearray(n_bytes)

    def lock(self):
        return threading.Lock()

    def children(self):
        """Start a child process, leave it running, and return its id."""
        return subprocess.Popen(["sleep", "1000"]).pid


class CannotBeUnpickled:
    """Can be pickled on the driver, but not unpickled on a machine."""

    def __init__(self):
        self.driver = os.getpid()

    def __reduce__(self):
        return _unpickle, ()

    def unused(self): ...


def _unpickle():
    raise ImportError("No module named 'driver_only'")


class Mapper:
    """Streams in both directions at once."""

    async def double(self, numbers):
        async for number in numbers:
            yield 2 * number

    def first(self, numbers):
        """Return before all has been read."""
        return next(numbers)

    def shout(self, file):
        for line in file:
            yield line.decode().upper()
