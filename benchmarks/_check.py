"""What got worse, compared with the figures of an earlier run, by more than the noise.

Another computer, or the same one on another day, is faster or slower as a whole. So what depends
on its speed is compared as a ratio to the floor, which each run has measured beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks._metrics import METRICS, Metric
from benchmarks._results import OURS, Results, Summary

# Of the earlier median: less is not reported, as few rounds show only a part of the noise.
SMALLEST_CHANGE = 0.1


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of bigmachine's, as it was and as it is."""

    contestant: str  # its title
    metric: Metric
    before: Summary
    now: Summary | None  # if it could not be measured, which is worse than any figure

    @property
    def is_worse(self) -> bool:
        """Whether the median is worse by more than the noise."""
        if self.now is None:
            return True
        difference = self.now.median - self.before.median
        return (difference if self.metric.better == "less" else -difference) > self.noise

    @property
    def noise(self) -> float:
        """By how much the rounds of either run differ, together, or what is too little to count."""
        noise = self.before.noise + (self.now.noise if self.now else 0.0)
        return max(noise, SMALLEST_CHANGE * self.before.median)

    def __str__(self) -> str:
        unit = "× the floor" if self.metric.follows_speed else self.metric.unit
        now = f"{self.now.median:.3g} {unit}" if self.now else "not measured"
        was = f"{self.before.median:.3g} {unit}"
        return f"{self.contestant}: {self.metric.title}: {now}, was {was} (noise {self.noise:.2g})"


def compare(now: Results, before: Results) -> list[Change]:
    """Return each figure of bigmachine's that ``before`` has, of the APIs that took part now."""
    changes = []
    for contestant in now.contestants:
        if contestant.name not in OURS:
            continue
        for metric in METRICS:
            old = comparable(before, contestant.name, metric)
            new = comparable(now, contestant.name, metric)
            # A time that has nothing to be compared with, for want of the baseline, is left out.
            is_missing = now.summary(contestant.name, metric) is None
            if old and (new or is_missing):
                changes.append(Change(contestant.title, metric, old, new))
    return changes


def comparable(results: Results, contestant: str, metric: Metric) -> Summary | None:
    """Return a figure in a form that is the same on every computer."""
    if metric.follows_speed:
        return results.ratio(contestant, metric)
    return results.summary(contestant, metric)


def report(changes: list[Change], before: Results) -> str:
    """Say what got worse."""
    worse = [change for change in changes if change.is_worse]
    about = before.about
    lines = [
        f"{len(changes)} figures compared with those of {about['when']}, {about['processor']}: "
        + (f"{len(worse)} got worse by more than the noise" if worse else "none got worse")
    ]
    return "\n".join([*lines, *(f"  {change}" for change in worse)])
