"""Stacks, and what was measured in each: the plain data of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .._spelling import did_you_mean, one_of
from ..errors import UsageError

# Tuples, because a profile of 500 machines has hundreds of thousands of them: they are compared,
# hashed and sent several times faster than dataclasses.


class Frame(NamedTuple):
    """A line of a function: ``CirclePI.sample`` at ``pi.py:39``.

    ``first_line`` is where the function begins. What is no Python function has a name in
    brackets, and neither file nor lines: ``[other threads]``.
    """

    function: str
    file: str = ""
    line: int = 0
    first_line: int = 0


@dataclass(frozen=True, slots=True)
class ValueType:
    """What is measured, and its unit: ``cpu`` in ``nanoseconds``."""

    type: str
    unit: str


class Sample(NamedTuple):
    """A stack, innermost frame first, and a value for each `ValueType` of its profile.

    ``labels`` are pairs: ``("machine", "m0")``, ``("thread", "bigmachine-1")``.
    """

    stack: tuple[Frame, ...]
    values: tuple[int, ...]
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Samples:
    """The data of a `Profile`."""

    value_types: tuple[ValueType, ...]
    samples: tuple[Sample, ...]
    started_at: float
    seconds: float
    period: float = 0.0
    """The time between two looks at the threads, in seconds; 0 for the heap."""
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def machines(self) -> list[str]:
        """The names of the machines that it has samples of."""
        return list(dict.fromkeys(v for s in self.samples for k, v in s.labels if k == "machine"))

    def total(self, value: str = "") -> int:
        """Return the sum of a value over all samples, in the unit of its `ValueType`."""
        index = self.index(value)
        return sum(sample.values[index] for sample in self.samples)

    def index(self, value: str = "") -> int:
        """Return the place of a value among `Sample.values`: that of the last one by default."""
        names = [kind.type for kind in self.value_types]
        if not value:
            return len(names) - 1
        if value not in names:
            raise UsageError(
                f"this profile has no {value!r}, but {one_of(names)}{did_you_mean(value, names)}"
            )
        return names.index(value)
