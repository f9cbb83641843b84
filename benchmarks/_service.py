"""The service that every contestant's machines offer."""

from __future__ import annotations

import os
import time
from typing import Any


class Bench:
    """Methods with nothing in them but the cost of calling them."""

    def __init__(self) -> None:
        self._arrays: dict[int, Any] = {}

    def null(self) -> None:
        """Do nothing."""

    def receive(self, array: Any) -> int:
        """Receive an array; return its length in bytes."""
        return int(array.nbytes)

    def send(self, size_bytes: int) -> Any:
        """Return an array of `size_bytes`, created once, so that creating it isn't timed."""
        if size_bytes not in self._arrays:
            import numpy as np  # here: an idle machine's memory should not hold it

            self._arrays[size_bytes] = np.ones(size_bytes, np.uint8)
        return self._arrays[size_bytes]

    def sleep(self, seconds: float) -> None:
        """Hold a call for `seconds`."""
        time.sleep(seconds)

    def compute(self, seconds: float) -> None:
        """Keep the interpreter busy for `seconds`."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            sum(range(1000))

    def pid(self) -> int:
        """Return the machine's process id."""
        return os.getpid()
