"""What a run measured, and whether bigmachine meets its targets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks._contestant import Contestant
from benchmarks._metrics import BY_KEY, METRICS, TARGETS, Metric, Target

OURS, BASELINE = "bigmachine", "baseline"


@dataclass(slots=True)
class Round:
    """What one contestant did in one round."""

    values: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Summary:
    """One contestant's samples of one metric, a round each."""

    best: float
    median: float
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and how near bigmachine came. `is_met` is None if something was not measured."""

    target: Target
    ratio: float | None  # to the best of `target.against`; None if the bound is absolute
    is_met: bool | None
    text: str


class Results:
    """All rounds of a run, and their summaries by contestant and metric."""

    def __init__(
        self,
        about: dict[str, Any],
        contestants: Sequence[type[Contestant]],
        rounds: dict[str, list[Round]],
    ) -> None:
        self.about = about
        self.contestants = contestants
        self.rounds = rounds
        self._summaries = {
            (contestant.name, metric.key): summary
            for contestant in contestants
            for metric in METRICS
            if (summary := summarize(metric, rounds[contestant.name]))
        }

    def is_empty(self) -> bool:
        return not self._summaries

    def summary(self, contestant: str, metric: Metric) -> Summary | None:
        """Return what `contestant` reached; None if it was not measured."""
        return self._summaries.get((contestant, metric.key))

    def title(self, metric: Metric) -> str:
        """Return the metric's title, with the number of machines this run really started."""
        return metric.title.replace("20 more", f"{self.about['plan']['machines']} more")

    def verdicts(self) -> list[Verdict]:
        """Judge bigmachine by every target; none if it didn't take part."""
        return [self._judge(target) for target in TARGETS] if OURS in self.rounds else []

    def _judge(self, target: Target) -> Verdict:
        metric = BY_KEY[target.metric]
        ours = self.summary(OURS, metric)
        if not target.against:
            bound = f"{metric.sign} {metric.format(target.bound)} {metric.unit}"
            if ours is None:
                return Verdict(target, None, None, f"{bound}: not measured")
            text = f"{bound}: {metric.format(ours.median)} {metric.unit}"
            return Verdict(target, None, metric.is_within(ours.median, target.bound), text)
        others = [c for c in self.contestants if c.name in target.against]
        medians = [
            (summary.median, other.title)
            for other in others
            if (summary := self.summary(other.name, metric))
        ]
        if ours is None or not medians:
            names = ", ".join(other.title for other in others) or ", ".join(target.against)
            text = f"{metric.sign} {target.bound:g} × {names}: not measured"
            return Verdict(target, None, None, text)
        best, title = (min if metric.better == "less" else max)(medians)
        ratio = ours.median / best
        text = (
            f"{metric.sign} {target.bound:g} × {title}: {ratio:.2f} × "
            f"({metric.format(ours.median)} / {metric.format(best)} {metric.unit})"
        )
        return Verdict(target, ratio, metric.is_within(ratio, target.bound), text)


def summarize(metric: Metric, rounds: Sequence[Round]) -> Summary | None:
    """Summarize the rounds that measured `metric`; None if none did."""
    samples = tuple(r.values[metric.key] for r in rounds if metric.key in r.values)
    if not samples:
        return None
    best = min(samples) if metric.better == "less" else max(samples)
    return Summary(best, statistics.median(samples), samples)
