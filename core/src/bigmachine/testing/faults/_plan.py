"""The kinds of faults, and the plan of faults that follows from a seed."""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace


class Fault(enum.StrEnum):
    """What can happen to the bytes of a connection, below TLS."""

    DROP = "drop"
    """Some bytes are lost; those after them arrive."""
    DELAY = "delay"
    """The bytes from here on arrive later."""
    CORRUPT = "corrupt"
    """Some bytes arrive with a bit flipped."""
    TRUNCATE = "truncate"
    """The connection ends here, in both directions, as if the other end had closed it."""
    RESET = "reset"
    """The connection breaks at once, with an error at both ends."""
    HALF_CLOSE = "half-close"
    """This direction ends as if closed; the other continues."""
    STALL = "stall"
    """No more bytes arrive, in this direction or in both, without any error."""


class Direction(enum.StrEnum):
    """Which way bytes go."""

    UP = "up"
    """From the driver to the machine."""
    DOWN = "down"
    """From the machine to the driver."""


LAST = frozenset({Fault.TRUNCATE, Fault.RESET, Fault.HALF_CLOSE, Fault.STALL})
"""The faults after which no more bytes pass in that direction."""

MOST_BYTES = 1500
"""How many bytes a fault affects at most: a packet."""


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault, planned or injected.

    It happens on ``connection``, counted from 0 in the order they are opened, before the
    byte at ``offset`` of that ``direction``. ``size_bytes`` is how many bytes a DROP or
    CORRUPT affects, ``seconds`` how long a DELAY takes, and ``both`` whether a STALL affects
    both directions.
    """

    connection: int
    direction: Direction
    offset: int
    fault: Fault
    size_bytes: int = 0
    seconds: float = 0.0
    both: bool = False


def plan(
    seed: int,
    *,
    connection: int,
    direction: Direction,
    kinds: Sequence[Fault],
    mean_bytes: float,
    mean_delay: float,
) -> Iterator[Injection]:
    """Yield the faults of one direction of a connection, in order; see `Faults`."""
    # Only random() gives the same values in all versions of Python.
    draw = random.Random(f"{seed}/{connection}/{direction}").random
    offset = 0.0
    while kinds and math.isfinite(mean_bytes):
        offset -= math.log(1 - draw()) * mean_bytes
        fault = kinds[int(draw() * len(kinds))]
        size, delay, both = draw(), -math.log(1 - draw()), draw() < 0.5
        injection = Injection(connection, direction, int(offset), fault)
        if fault in (Fault.DROP, Fault.CORRUPT):
            injection = replace(injection, size_bytes=1 + int(size * MOST_BYTES))
            offset += injection.size_bytes
        elif fault is Fault.DELAY:
            injection = replace(injection, seconds=delay * mean_delay)
        elif fault is Fault.STALL:
            injection = replace(injection, both=both)
        yield injection
        if fault in LAST:
            return
