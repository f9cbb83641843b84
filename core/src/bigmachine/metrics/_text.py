"""Metrics as a table for people, one line each."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .._values import size_text
from ._metric import Metric


def metrics_text(metrics: Mapping[str, Metric]) -> str:
    """Return a line for each metric: its name, its kind, and what it measured."""
    width = max(map(len, metrics), default=0)
    lines = [f"{name:{width}}  {one.kind:9}  {_values(one)}" for name, one in metrics.items()]
    return "\n".join(lines)


def _values(metric: Metric) -> str:
    value, is_bytes = metric.value, metric.unit == "bytes" or metric.name.endswith("_bytes")
    if not value.count:
        return "no value"
    if metric.kind == "counter":
        return _number(value.sum, is_bytes=is_bytes)
    if metric.kind == "gauge":
        each = [_number(one, is_bytes=is_bytes) for one in (value.min, value.max)]
        total = _number(value.sum, is_bytes=is_bytes)
        return total if value.count == 1 else f"{total}, each {' to '.join(dict.fromkeys(each))}"
    median, most = (_number(one, is_bytes=is_bytes) for one in (value.quantile(0.5), value.max))
    unit = f" {metric.unit}" if metric.unit and not is_bytes else ""
    count = f"{value.count:,} value{'s' * (value.count != 1)}"
    return f"{count}, median {median}, largest {most}{unit}"


def _number(number: float, *, is_bytes: bool = False) -> str:
    if is_bytes and 0 <= number < math.inf:
        return size_text(int(number))
    if math.isfinite(number) and (number == int(number) or abs(number) >= 1000):
        return f"{number:,.0f}"
    return f"{number:.4g}"
