"""What a counter, a gauge or a histogram has measured: plain data that can be added up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ._buckets import quantile

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Value:
    """One value, or several that were merged.

    Of a counter or a gauge, ``sum`` is the value, and ``count`` how many were merged, of which
    ``min`` and ``max`` are the least and the greatest. Of a histogram, ``count`` values were
    observed; ``buckets`` counts them by size.
    """

    sum: float = 0
    count: int = 0
    min: float = math.inf
    max: float = -math.inf
    buckets: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, number: float) -> Value:
        """Return the value of a counter or gauge."""
        # What isn't a number is neither the least nor the greatest.
        return cls(number, 1) if number != number else cls(number, 1, number, number)

    @property
    def mean(self) -> float:
        """``sum / count``; NaN of nothing."""
        return self.sum / self.count if self.count else math.nan

    def quantile(self, q: float) -> float:
        """Estimate a quantile of a histogram, to within 19 %; NaN of nothing."""
        return quantile(q, self.buckets, smallest=self.min, greatest=self.max)


def merged(values: Iterable[Value]) -> Value:
    """Return the one value of several."""
    total: float = 0  # whole numbers stay whole
    count, least, greatest = 0, math.inf, -math.inf
    buckets: dict[int, int] = {}
    for value in values:
        total += value.sum
        count += value.count
        least = min(least, value.min)
        greatest = max(greatest, value.max)
        for bucket, number in value.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + number
    return Value(total, count, least, greatest, buckets)
