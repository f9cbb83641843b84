"""One metric: what was measured under one name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..errors import UsageError
from ._value import Kind, Value, merged

Scope: TypeAlias = Literal["machine", "process", "host"]


@dataclass(frozen=True, slots=True)
class Series:
    """The value of a metric with one set of labels."""

    labels: Mapping[str, str]
    value: Value


@dataclass(frozen=True, slots=True, repr=False)
class Metric:
    """A counter, a gauge or a histogram, with its values by labels.

    Of a counter and a gauge, ``sum`` is the value; of several machines, it is their total, and
    ``min``, ``max`` and ``mean`` compare them. Of a histogram, these describe the ``count``
    values that were observed. All are over all labels; `select` chooses some.

    What machines of one process or of one host have in common is counted once: the ``scope``
    says whose value it is.
    """

    name: str
    kind: Kind
    series: tuple[Series, ...]
    help: str = ""
    unit: str = ""
    scope: Scope = "process"

    def __repr__(self) -> str:
        value = self.value
        values = f"sum={value.sum:g} count={value.count}"
        if value.min <= value.max:
            values += f" min={value.min:g} max={value.max:g}"
        return f"<Metric {self.name}: {self.kind} {values} series={len(self.series)}>"

    def select(self, **labels: object) -> Metric:
        """Return the same metric with only those series that have these ``labels``."""
        wanted = {label: str(value) for label, value in labels.items()}.items()
        chosen = tuple(one for one in self.series if wanted <= one.labels.items())
        return Metric(self.name, self.kind, chosen, self.help, self.unit, self.scope)

    def by(self, label: str) -> dict[str, Metric]:
        """Return it split by the values of a label, such as ``"method"``."""
        values = dict.fromkeys(one.labels[label] for one in self.series if label in one.labels)
        return {value: self.select(**{label: value}) for value in values}

    @property
    def value(self) -> Value:
        """All its series in one."""
        return merged(one.value for one in self.series)

    @property
    def sum(self) -> float:
        """The value of a counter or a gauge; the sum of what a histogram observed."""
        return self.value.sum

    @property
    def count(self) -> int:
        """How many values a histogram observed; how many a counter or gauge has."""
        return self.value.count

    @property
    def min(self) -> float:
        """The least of these values; infinite if there are none."""
        return self.value.min

    @property
    def max(self) -> float:
        """The greatest of these values; minus infinity if there are none."""
        return self.value.max

    @property
    def mean(self) -> float:
        """``sum / count``; NaN if there are no values."""
        return self.value.mean

    def quantile(self, q: float) -> float:
        """Estimate the value that a fraction ``q`` of a histogram's values does not exceed.

        It is within 19 % of the exact one; NaN if there are no values. `UsageError` for a
        counter or a gauge.
        """
        if self.kind != "histogram":
            raise UsageError(f"{self.name!r} is a {self.kind}: only histograms have quantiles")
        if not 0 <= q <= 1:
            raise UsageError(f"a quantile is a fraction from 0 to 1, such as 0.99, not {q!r}")
        return self.value.quantile(q)
