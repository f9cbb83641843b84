"""The text that Prometheus reads: OpenMetrics 1.0.

https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

from ._buckets import PER_DOUBLING
from ._metric import Metric, Series
from ._names import family_name, sample_names
from ._value import Value
from ._variables import Variables

OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The content type of the text."""

# The bounds of a histogram's buckets, as powers of two. They are always the same ones, because
# Prometheus can add up and compare only those; fewer than we have, because each is a time series.
_BOUNDS = {
    "seconds": range(-16, 13),  # 15 µs to 68 min
    "bytes": range(6, 42, 2),  # 64 B to 1 TiB
}
_OTHER_BOUNDS = range(-20, 42, 2)


def openmetrics(machines: Mapping[str, Variables], *, missing: Collection[str] = ()) -> str:
    """Return the values of machines, by their names, as text; each sample names its machine.

    ``missing`` are the names of others, whose values are not known.
    """
    first: dict[str, Metric] = {}
    for variables in machines.values():
        for name, metric in variables.items():
            first.setdefault(name, metric)
    lines = [*_up(machines, missing)]
    taken: set[str] = set()
    for name, metric in first.items():
        names = sample_names(name, metric.unit, metric.kind)
        if not taken.isdisjoint(names):
            continue  # one machine has a metric that another one has under another name
        taken.update(names)
        family = family_name(name, metric.unit)
        lines += _head(family, metric.kind, metric.unit, metric.help)
        for machine, variables in machines.items():
            other = variables.get(name)
            # A metric of another kind or unit, under the same name, would make the text invalid.
            if other is not None and (other.kind, other.unit) == (metric.kind, metric.unit):
                for series in other.series:
                    lines += _samples(family, other, series, machine)
    return "\n".join([*lines, "# EOF\n"])


def _up(machines: Collection[str], missing: Collection[str]) -> Iterator[str]:
    yield from _head("bigmachine_up", "gauge", "", "1 if the machine gave its values, 0 if not")
    for machine in machines:
        yield f"bigmachine_up{_labels({}, machine)} 1"
    for machine in missing:
        yield f"bigmachine_up{_labels({}, machine)} 0"


def _head(family: str, kind: str, unit: str, help: str) -> Iterator[str]:
    yield f"# TYPE {family} {kind}"
    if unit:
        yield f"# UNIT {family} {unit}"
    if help:
        yield f"# HELP {family} {_escaped(help)}"


def _samples(family: str, metric: Metric, series: Series, machine: str) -> Iterator[str]:
    labels = _labels(series.labels, machine)
    value = series.value
    if metric.kind == "counter":
        yield f"{family}_total{labels} {_number(value.sum)}"
    elif metric.kind == "gauge":
        if value.count:  # it was set
            yield f"{family}{labels} {_number(value.sum)}"
    else:
        for bound, count in _cumulative(value, metric.unit):
            yield f"{family}_bucket{_labels({**series.labels, 'le': bound}, machine)} {count}"
        if value.min >= 0:  # else they must be left out: the sum may fall
            yield f"{family}_count{labels} {value.count}"
            yield f"{family}_sum{labels} {_number(value.sum)}"


def _cumulative(value: Value, unit: str) -> Iterator[tuple[str, int]]:
    buckets = sorted(value.buckets.items())
    total, at = 0, 0
    for exponent in _BOUNDS.get(unit, _OTHER_BOUNDS):
        while at < len(buckets) and buckets[at][0] <= exponent * PER_DOUBLING:
            total += buckets[at][1]
            at += 1
        yield _number(2.0**exponent), total
    yield "+Inf", value.count


def _labels(labels: Mapping[str, str], machine: str) -> str:
    pairs = [("machine", machine), *labels.items()]
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(number: float) -> str:
    if isinstance(number, int):
        return str(number)
    if math.isfinite(number):
        return repr(number)
    return "NaN" if number != number else "+Inf" if number > 0 else "-Inf"
