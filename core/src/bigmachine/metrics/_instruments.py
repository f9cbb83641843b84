"""What users count and measure with: `Counter`, `Gauge` and `Histogram`.

Each belongs to a `Family` of the same name, which has one of them for each set of labels.
"""

from __future__ import annotations

import logging
import math
import operator
import threading
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeAlias

from ..errors import UsageError
from ._buckets import ZERO
from ._names import checked_labels
from ._value import Kind, Value

logger = logging.getLogger("bigmachine.metrics")

MAX_SERIES = 1000
"""How many sets of labels one metric may have in a process; others are counted together."""

OVERFLOW = (("overflow", "true"),)
"""The labels of what is counted together. They are those of OpenTelemetry's SDKs."""

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Family:
    """All instruments with one name: one for each set of labels that was used so far.

    ``restore`` is what pickles of them call in another process.
    """

    def __init__(
        self,
        kind: type[Instrument],
        name: str,
        *,
        help: str,
        unit: str,
        restore: Callable[[str, str, str, str, Labels], Instrument],
    ) -> None:
        self.kind = kind
        self.name = name
        self.help = help
        self.unit = unit
        self.restore = restore
        self.lock = threading.RLock()
        self.series: dict[Labels, Instrument] = {}
        self.given: dict[tuple[Labels, tuple[tuple[str, object], ...]], Instrument] = {}
        """Those of `series` by the labels as users give them, in any order; a cache."""
        self._told: set[str] = set()
        self.unlabelled = self.with_labels(())

    def with_labels(self, labels: Labels) -> Instrument:
        """Return the instrument with these labels."""
        known = self.series.get(labels)
        if known is not None:
            return known
        with self.lock:
            if len(self.series) > MAX_SERIES and labels != OVERFLOW:
                self.tell_once(
                    f"has more than {MAX_SERIES} sets of labels; further ones are counted "
                    'together, with the label overflow="true". Use labels that have few values'
                )
                return self.with_labels(OVERFLOW)
            return self.series.setdefault(labels, self.kind(self, labels))

    def items(self) -> list[tuple[Labels, Instrument]]:
        """Return all of them with their labels."""
        with self.lock:
            return [*self.series.items()]

    def shown(self) -> list[tuple[Labels, Value]]:
        """Return what was measured, by labels; without any, as it is if nothing else is used."""
        values = [(labels, instrument._value()) for labels, instrument in self.items()]
        return [(labels, value) for labels, value in values if labels or value.count] or values

    def tell_once(self, what: str) -> None:
        """Log a warning, unless it was logged before."""
        if what not in self._told:
            self._told.add(what)
            logger.warning("the %s %r %s", self.kind.kind, self.name, what)

    def reset_locks(self) -> None:
        """Free the locks, in a process that was forked while others held them."""
        self.lock = threading.RLock()
        for _, instrument in self.items():
            instrument._lock = threading.RLock()


class Instrument:
    """What the three kinds have in common: a name, labels, and how they travel.

    A copy of one is itself, and on another machine it is that machine's: so services may keep
    them as attributes.
    """

    kind: ClassVar[Kind]
    """``"counter"``, ``"gauge"`` or ``"histogram"``."""

    __slots__ = ("_family", "_labels", "_lock")

    def __init__(self, family: Family, labels: Labels) -> None:
        self._family = family
        self._labels = labels
        # Reentrant: a signal's handler may count while its thread is here.
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        labels = ", ".join(f"{name}={value!r}" for name, value in self._labels)
        return f"<{type(self).__name__} {self.name}{f' {labels}' if labels else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        family = self._family
        return family.restore, (
            type(self).kind,
            family.name,
            family.help,
            family.unit,
            self._labels,
        )

    @property
    def name(self) -> str:
        """Its name, without the unit."""
        return self._family.name

    def labels(self, **labels: object) -> Self:
        """Return the instrument of the same name with these labels, beside those it has.

        ``rows.labels(table="users").add(n)``. The values become strings. Use labels that have few
        values: a metric has at most 1,000 sets of them in a process, and what is beyond that is
        counted together. Keep what this returns, where a microsecond matters.
        """
        family = self._family
        given = self._labels, tuple(labels.items())
        try:
            return family.given[given]  # type: ignore[return-value]
        except (KeyError, TypeError):  # new, or no strings
            checked = checked_labels({**dict(self._labels), **labels}, family.name)
            found = family.with_labels(checked)
        if found._labels == checked and all(type(value) is str for value in labels.values()):
            family.given[given] = found
        return found  # type: ignore[return-value]

    # -- for the registry -----------------------------------------------------

    def _value(self) -> Value:
        """Return what was measured; with a count of 0 if nothing was."""
        raise NotImplementedError

    def _take(self) -> Any:  # Any: only `_absorb` reads it
        """Return what was measured since the last time, and begin anew; None of nothing."""
        raise NotImplementedError

    def _absorb(self, taken: Any) -> None:
        """Add what another process took from its own."""
        raise NotImplementedError


class Counter(Instrument):
    """A number that only grows, such as the rows that were read. Made by `counter`."""

    kind = "counter"

    __slots__ = ("_is_used", "_sum")

    def __init__(self, family: Family, labels: Labels) -> None:
        super().__init__(family, labels)
        self._sum: float = 0
        self._is_used = False

    def add(self, amount: float = 1) -> None:
        """Count ``amount`` more, from any thread or task; `UsageError` if it is negative."""
        if type(amount) is not int and type(amount) is not float:
            amount = _number(amount, self)
        if not 0 <= amount < math.inf:
            self._refuse(amount)
            return
        with self._lock:
            self._sum += amount
            self._is_used = True

    def _refuse(self, amount: float) -> None:
        if amount < 0:
            raise UsageError(f"the counter {self.name!r} only grows: use a gauge, to add {amount}")
        self._family.tell_once(f"was given {amount}, which is not counted")

    def _value(self) -> Value:
        return Value.of(self._sum) if self._is_used else Value()

    def _take(self) -> float | None:
        with self._lock:
            taken, self._sum = self._sum, 0
        return taken or None

    def _absorb(self, taken: float) -> None:
        self.add(taken)


class Gauge(Instrument):
    """A number that goes up and down, such as the length of a queue. Made by `gauge`."""

    kind = "gauge"

    __slots__ = ("_is_set", "_is_used", "_number")

    def __init__(self, family: Family, labels: Labels) -> None:
        super().__init__(family, labels)
        self._number: float = 0
        self._is_used = self._is_set = False  # the latter: since the last `_take`

    def set(self, number: float) -> None:
        """Set it to ``number``, from any thread or task."""
        if type(number) is not int and type(number) is not float:
            number = _number(number, self)
        with self._lock:
            self._number = number
            self._is_used = self._is_set = True

    def add(self, amount: float = 1) -> None:
        """Add ``amount``, which may be negative, from any thread or task."""
        if type(amount) is not int and type(amount) is not float:
            amount = _number(amount, self)
        with self._lock:
            self._number += amount
            self._is_used = True

    def _value(self) -> Value:
        return Value.of(self._number) if self._is_used else Value()

    def _take(self) -> tuple[bool, float] | None:
        with self._lock:
            taken = self._is_set, self._number
            is_used = self._is_used
            self._is_used = self._is_set = False
            self._number = 0  # what is added from now on is added to the machine's
        return taken if is_used else None

    def _absorb(self, taken: tuple[bool, float]) -> None:
        is_set, number = taken
        (self.set if is_set else self.add)(number)


class Histogram(Instrument):
    """How values such as durations or sizes are distributed. Made by `histogram`."""

    kind = "histogram"

    __slots__ = ("_buckets", "_count", "_max", "_min", "_sum")

    def __init__(self, family: Family, labels: Labels) -> None:
        super().__init__(family, labels)
        self._min: float
        self._max: float
        self._clear()

    def observe(self, value: float) -> None:
        """Count ``value`` in its bucket, from any thread or task."""
        if type(value) is not int and type(value) is not float:
            value = _number(value, self)
        try:
            bucket = math.ceil(math.log2(value) * 4)
        except (ValueError, OverflowError):  # zero, or no finite number
            if not -math.inf < value <= 0:
                self._family.tell_once(f"was given {value}, which is not counted")
                return
            bucket = ZERO
        with self._lock:
            self._count += 1
            self._sum += value
            if value < self._min:
                self._min = value
            if value > self._max:
                self._max = value
            self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def _clear(self) -> None:
        self._count = 0
        self._sum: float = 0
        self._min, self._max = math.inf, -math.inf
        self._buckets: dict[int, int] = {}

    def _value(self) -> Value:
        with self._lock:
            return Value(self._sum, self._count, self._min, self._max, dict(self._buckets))

    def _take(self) -> Value | None:
        with self._lock:
            taken = self._value()
            self._clear()
        return taken if taken.count else None

    def _absorb(self, taken: Value) -> None:
        with self._lock:
            self._count += taken.count
            self._sum += taken.sum
            self._min = min(self._min, taken.min)
            self._max = max(self._max, taken.max)
            for bucket, count in taken.buckets.items():
                self._buckets[bucket] = self._buckets.get(bucket, 0) + count


def _number(value: Any, instrument: Instrument) -> float:
    """Return a plain number: numpy's and torch's scalars are none, and overflow."""
    try:
        return operator.index(value)
    except TypeError:
        pass
    try:
        if isinstance(value, str | bytes | bytearray):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        kind, name = instrument.kind, instrument.name
        raise UsageError(f"the {kind} {name!r} takes a number, not {value!r:.80}") from None
