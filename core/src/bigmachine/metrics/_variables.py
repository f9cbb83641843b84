"""The values of one machine at one time, and those of several, merged."""

from __future__ import annotations

import math
import time as _time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._spelling import did_you_mean
from .._values import show_in_notebook
from ..errors import ProtocolError
from ._buckets import bucket_up_to, upper_bound
from ._metric import Metric, Scope, Series
from ._registry import Registry
from ._text import metrics_text
from ._value import Kind, Value, merged

VERSION = 1
"""Of the plain data that `Variables.to_dict` returns."""

QUANTILES = (0.5, 0.9, 0.99)
"""Those that `Variables.to_dict` gives of each histogram."""


@dataclass(frozen=True, slots=True, repr=False)
class Variables(Mapping[str, Metric]):
    """Metrics by name, as they were at one ``time``, in seconds since 1970.

    Those of one machine, or of several. ``scopes`` says which process and host they are from.
    """

    metrics: Mapping[str, Metric]
    time: float = field(default_factory=_time.time)
    scopes: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Variables {', '.join(self)}>"

    def __str__(self) -> str:
        """Return a table, a line for each metric."""
        return metrics_text(self)

    _repr_pretty_ = show_in_notebook

    def __getitem__(self, name: str) -> Metric:
        if name not in self.metrics:
            raise _UnknownMetric(name, [*self.metrics])
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; numbers that are not finite are strings, as ``"NaN"``."""
        return {
            "version": VERSION,
            "time": self.time,
            "scopes": dict(self.scopes),
            "metrics": {name: _metric_dict(metric) for name, metric in self.metrics.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Variables:
        """Return what `to_dict` was called on; `ProtocolError` for that of another version."""
        if data["version"] != VERSION:
            raise ProtocolError(
                f"variables of version {data['version']}; this bigmachine reads {VERSION}"
            )
        metrics = {name: _metric(name, metric) for name, metric in data["metrics"].items()}
        return cls(metrics, data["time"], data["scopes"])


class _UnknownMetric(KeyError):
    """The text is made when it is read: `Variables.get` needs none."""

    def __str__(self) -> str:
        name, known = self.args
        return f"no process has used a metric {name!r} so far{did_you_mean(str(name), known)}"


def measured(
    name: str, kind: Kind, number: float, *, help: str, unit: str = "", scope: Scope = "machine"
) -> Metric:
    """Return a metric with one value, without labels."""
    return Metric(name, kind, (Series({}, Value.of(number)),), help, unit, scope)


def registered(registry: Registry) -> dict[str, Metric]:
    """Return the metrics of a process, as they are now."""
    return {
        family.name: Metric(
            family.name,
            family.kind.kind,
            tuple(Series(dict(labels), value) for labels, value in family.shown()),
            family.help,
            family.unit,
        )
        for family in registry.families()
    }


def merge(all_variables: Iterable[Variables]) -> Variables:
    """Add up those of several machines, series by series.

    What machines of one process, or of one host, share is counted once. Where a name is of
    several kinds, the first counts.
    """
    first: dict[str, Metric] = {}
    values: dict[str, dict[tuple[tuple[str, str], ...], list[Value]]] = {}
    seen: set[tuple[str, str, tuple[tuple[str, str], ...]]] = set()
    for variables in all_variables:
        for name, metric in variables.items():
            source = variables.scopes.get(metric.scope)
            known = first.setdefault(name, metric)
            if known.kind != metric.kind:
                continue
            for series in metric.series:
                key = tuple(sorted(series.labels.items()))
                if source:
                    # Series by series: machines of one host may show different GPUs.
                    if (name, source, key) in seen:
                        continue
                    seen.add((name, source, key))
                values.setdefault(name, {}).setdefault(key, []).append(series.value)
    return Variables(
        {
            name: Metric(
                name,
                metric.kind,
                tuple(Series(dict(k), merged(v)) for k, v in values.get(name, {}).items()),
                metric.help,
                metric.unit,
                metric.scope,
            )
            for name, metric in first.items()
        }
    )


def _metric_dict(metric: Metric) -> dict[str, Any]:
    return {
        "kind": metric.kind,
        "unit": metric.unit,
        "help": metric.help,
        "scope": metric.scope,
        "series": [
            {"labels": dict(one.labels), **_value_dict(metric.kind, one.value)}
            for one in metric.series
        ],
    }


def _value_dict(kind: str, value: Value) -> dict[str, Any]:
    data: dict[str, Any] = {"sum": _plain(value.sum), "count": value.count}
    if value.min <= value.max:
        data |= {"min": _plain(value.min), "max": _plain(value.max)}
    if kind == "histogram":
        data["quantiles"] = {f"{q:g}": _plain(value.quantile(q)) for q in QUANTILES}
        data["buckets"] = [[_plain(upper_bound(b)), n] for b, n in sorted(value.buckets.items())]
    return data


def _metric(name: str, data: Mapping[str, Any]) -> Metric:
    series = tuple(
        Series(
            one["labels"],
            Value(
                _number(one["sum"]),
                one["count"],
                _number(one.get("min", math.inf)),
                _number(one.get("max", -math.inf)),
                {bucket_up_to(_number(bound)): n for bound, n in one.get("buckets", ())},
            ),
        )
        for one in data["series"]
    )
    return Metric(name, data["kind"], series, data["help"], data["unit"], data["scope"])


def _plain(number: float) -> float | str:
    try:
        if math.isfinite(number):
            return number
    except OverflowError:  # a whole number that no float can hold
        number = math.inf if number > 0 else -math.inf
    return "NaN" if number != number else "+Inf" if number > 0 else "-Inf"


def _number(number: float | str) -> float:
    return float(number) if isinstance(number, str) else number
