"""The methods of a session's services: how often they are called, and how long calls take."""

from __future__ import annotations

from collections.abc import Iterable

from ..metrics._variables import merge
from ._measures import Measured, quantile
from ._status import MethodStatus


def method_statuses(answers: Iterable[Measured]) -> list[MethodStatus]:
    """Return the methods that were called on these machines, the busiest first."""
    answers = [*answers]
    merged = merge(measured.variables for measured in answers)
    if "bigmachine_calls_begun" not in merged:
        return []
    begun = merged["bigmachine_calls_begun"].by("method")
    raised = merged["bigmachine_calls_ended"].select(outcome="raised").by("method")
    in_flight = merged["bigmachine_calls_in_flight"].by("method")
    seconds = merged["bigmachine_call_seconds"].by("method")
    found = [
        MethodStatus(
            name=name,
            begun=calls.sum,
            raised=raised[name].sum if name in raised else 0,
            in_flight=in_flight[name].sum if name in in_flight else 0,
            per_second=_total(one.rate("bigmachine_calls_begun", method=name) for one in answers),
            median=quantile(seconds[name], 0.5) if name in seconds else None,
            p99=quantile(seconds[name], 0.99) if name in seconds else None,
        )
        for name, calls in begun.items()
    ]
    return sorted(found, key=lambda method: (-(method.per_second or 0.0), -method.begun))


def _total(rates: Iterable[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None
