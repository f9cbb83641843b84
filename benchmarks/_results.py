"""What a run measured, and whether bigmachine meets its targets."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks._contestant import CONTESTANTS, Contestant, load
from benchmarks._metrics import BY_KEY, FLOOR, METRICS, TARGETS, Metric, Target

OURS, BASELINE = ("bigmachine-sync", "bigmachine-trio"), "baseline"


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

    @property
    def noise(self) -> float:
        """How far apart the samples are."""
        return max(self.samples) - min(self.samples)


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

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Results:
        """Return the results that `document` describes, of contestants that are still known."""
        found = {name: of for name, of in document["contestants"].items() if name in CONTESTANTS}
        return cls(
            document["about"],
            [load(name) for name in CONTESTANTS if name in found],
            {name: [Round(**round_) for round_ in of["rounds"]] for name, of in found.items()},
        )

    def document(self) -> dict[str, Any]:
        """Return the results for `bench.json`: every round, all summaries and verdicts."""
        return {
            "about": self.about,
            "contestants": {
                contestant.name: {
                    "title": contestant.title,
                    "wire": contestant.wire,
                    "medians": {
                        metric.key: summary.median
                        for metric in METRICS
                        if (summary := self.summary(contestant.name, metric))
                    },
                    "rounds": [asdict(round_) for round_ in self.rounds[contestant.name]],
                }
                for contestant in self.contestants
            },
            "targets": [asdict(verdict) for verdict in self.verdicts()],
        }

    def is_empty(self) -> bool:
        return not any(round_.values for rounds in self.rounds.values() for round_ in rounds)

    def summary(self, contestant: str, metric: Metric) -> Summary | None:
        """Return what `contestant` reached; None if it was not measured."""
        rounds = self.rounds.get(contestant, ())
        return summarize(metric, [r.values[metric.key] for r in rounds if metric.key in r.values])

    def ratio(
        self, contestant: str, metric: Metric, *, against: tuple[str, ...] = (BASELINE,)
    ) -> Summary | None:
        """Return how often `contestant` took what the best of others took in the same round.

        If that is the baseline, what it took in turns with the contestant counts, placed alike;
        of what was not measured so, what it took in its own turn.
        """
        return summarize(metric, list(self._ratios(contestant, metric, against)))

    def _ratios(self, contestant: str, metric: Metric, against: tuple[str, ...]) -> Iterator[float]:
        is_floor = against == (BASELINE,)
        key = (metric.floor or metric.key) if is_floor else metric.key
        for number, round_ in enumerate(self.rounds.get(contestant, ())):
            beside = round_.values.get(FLOOR + key) if is_floor else None
            turns = [self.rounds[name] for name in against if name in self.rounds]
            apart = [turn[number].values.get(key) for turn in turns if number < len(turn)]
            others = [value for value in ([beside] if beside else apart) if value]
            if metric.key in round_.values and others:
                yield round_.values[metric.key] / best(metric, others)

    def title(self, metric: Metric) -> str:
        """Return the metric's title, with the number of machines this run really started."""
        return metric.title.replace("20 more", f"{self.about['plan']['machines']} more")

    def verdicts(self) -> list[Verdict]:
        """Judge bigmachine by every target of those APIs of it that took part."""
        return [self._judge(target) for target in TARGETS if target.of in self.rounds]

    def _judge(self, target: Target) -> Verdict:
        metric = BY_KEY[target.metric]
        if not target.against:
            summary = self.summary(target.of, metric)
            bound, unit = f"{metric.format(target.bound)} {metric.unit}", f" {metric.unit}"
        else:
            summary = self.ratio(target.of, metric, against=target.against)
            titles = [c.title for c in self.contestants if c.name in target.against]
            names = titles[0] if len(titles) == 1 else f"best of {', '.join(titles) or 'others'}"
            names = "the floor" if target.against == (BASELINE,) else names
            bound, unit = f"{target.bound:g} × {names}", " ×"
        if summary is None:
            return Verdict(target, None, None, f"{metric.sign} {bound}: not measured")
        value = f"{summary.median:.2f}" if target.against else metric.format(summary.median)
        return Verdict(
            target,
            summary.median if target.against else None,
            metric.is_within(summary.median, target.bound),
            f"{metric.sign} {bound}: {value}{unit}",
        )


def summarize(metric: Metric, samples: Sequence[float]) -> Summary | None:
    """Summarize the samples of `metric`; None if there are none."""
    if not samples:
        return None
    return Summary(best(metric, samples), statistics.median(samples), tuple(samples))


def best(metric: Metric, values: Sequence[float]) -> float:
    return min(values) if metric.better == "less" else max(values)
