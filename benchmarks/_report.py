"""What came out: a table for the terminal, everything as JSON, and a plot."""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import ssl
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks._contestant import Contestant
from benchmarks._measure import FULL, QUICK
from benchmarks._metrics import BY_KEY, METRICS, TARGETS, Metric, Target
from benchmarks._run import Round

LABEL, CELL = 29, 8  # columns of the table's label and of a figure: 29 + 5 + 6 × 9 + 11 = 99
OURS = "bigmachine"
BUSY_LOAD = 0.5  # processes that run or wait, per processor, before the run


@dataclass(frozen=True, slots=True)
class Figure:
    """One contestant's samples of one metric, a round each."""

    best: float
    median: float
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and what was measured of it. `is_met` is None where something is missing."""

    target: Target
    ratio: float | None  # to the bound's reference: a rival's median, or nothing
    is_met: bool | None
    words: str


class Report:
    """A run's outcome. Judged by medians; the best of the rounds is shown beside them."""

    def __init__(
        self,
        about: dict[str, Any],
        contestants: Sequence[type[Contestant]],
        outcomes: dict[str, list[Round]],
    ) -> None:
        self.about = about
        self.contestants = contestants
        self.outcomes = outcomes
        self.figures = {
            (contestant.name, metric.key): figure
            for contestant in contestants
            for metric in METRICS
            if (figure := summarize(metric, outcomes[contestant.name]))
        }

    def is_empty(self) -> bool:
        return not self.figures

    def verdicts(self) -> list[Verdict]:
        """Judge bigmachine by every target; none if it didn't take part."""
        if OURS not in self.outcomes:
            return []
        return [self._judge(target) for target in TARGETS]

    def text(self) -> str:
        """Return the table, at most 100 columns wide."""
        return "\n".join([*self._heading(), "", *self._table(), "", *self._judgement()])

    def write(self, directory: Path) -> Iterator[Path]:
        """Write every form of the report into `directory`; yield the paths."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "bench.json"
        path.write_text(json.dumps(self._document(), indent=1) + "\n")
        yield path
        path = directory / "bench.txt"
        path.write_text(self.text() + "\n")
        yield path
        if importlib.util.find_spec("matplotlib"):
            from benchmarks import _plot

            yield from _plot.write(self, directory)

    # -- parts of the text ---------------------------------------------------

    def _heading(self) -> list[str]:
        about = self.about
        rounds = f"{about['rounds']} round{'s' if about['rounds'] > 1 else ''}"
        return [
            f"{about['processors']} × {about['processor']}, Linux {about['kernel']}, "
            f"Python {about['python']}",
            f"{about['when']}, load {about['load']:.1f} before the run; {rounds}, {about['kind']}; "
            "loopback",
            *self._doubts(),
        ]

    def _doubts(self) -> list[str]:
        """Say so if other work was disturbing: it moves even the ratios of this run."""
        if self.about["load"] < BUSY_LOAD * self.about["processors"]:
            return []
        return ["THIS COMPUTER WAS BUSY with other work: neither figures nor verdicts hold."]

    def _table(self) -> list[str]:
        widths = {c.name: max(CELL, len(c.title)) for c in self.contestants}
        titles = "".join(f" {c.title:>{widths[c.name]}}" for c in self.contestants)
        lines = [" " * (LABEL + 5) + titles]
        lines.append("─" * len(lines[0]))
        for metric in METRICS:
            if not any((c.name, metric.key) in self.figures for c in self.contestants):
                continue
            for kind in ("median", "best") if self.about["rounds"] > 1 else ("median",):
                label = self.title(metric) if kind == "median" else ""
                unit = metric.unit if kind == "median" else "best"
                cells = ""
                for contestant in self.contestants:
                    figure = self.figures.get((contestant.name, metric.key))
                    value = format_value(metric, getattr(figure, kind)) if figure else "–"
                    cells += f" {value:>{widths[contestant.name]}}"
                lines.append(f"{label:<{LABEL}}{unit:>5}{cells}".rstrip())
        lines.append("")
        lines += [f"{c.title}: {c.wire}" for c in self.contestants]
        for contestant in self.contestants:
            notes = dict.fromkeys(n for r in self.outcomes[contestant.name] for n in r.notes)
            lines += [f"{contestant.title}: {shorten(note)}" for note in notes]
        return lines

    def _judgement(self) -> list[str]:
        mark = {True: "met", False: "MISSED", None: "?"}
        verdicts = self.verdicts()
        if not verdicts:
            return ["bigmachine did not take part: nothing to judge."]
        return ["Targets (medians of this run)"] + [
            f"  {mark[v.is_met]:<7}{self.title(BY_KEY[v.target.metric]):<{LABEL}} {v.words}"
            for v in verdicts
        ]

    def title(self, metric: Metric) -> str:
        """Return the metric's name, with the number of machines this run really started."""
        return metric.title.replace("20 more", f"{self.about['plan']['machines']} more")

    # -- judging ---------------------------------------------------------------

    def _judge(self, target: Target) -> Verdict:
        metric = BY_KEY[target.metric]
        sign = "≤" if metric.better == "less" else "≥"
        ours = self.figures.get((OURS, metric.key))
        if not target.against:
            bound = f"{sign} {format_value(metric, target.bound)} {metric.unit}"
            if ours is None:
                return Verdict(target, None, None, f"{bound}: not measured")
            words = f"{bound}: {format_value(metric, ours.median)} {metric.unit}"
            return Verdict(target, None, is_within(metric, ours.median, target.bound), words)
        rivals = [
            (figure.median, contestant.title)
            for contestant in self.contestants
            if contestant.name in target.against
            and (figure := self.figures.get((contestant.name, metric.key)))
        ]
        if ours is None or not rivals:
            names = ", ".join(c.title for c in self.contestants if c.name in target.against)
            words = f"{sign} {target.bound:g} × {names or ', '.join(target.against)}: not measured"
            return Verdict(target, None, None, words)
        rival, title = (min if metric.better == "less" else max)(rivals)
        ratio = ours.median / rival
        words = (
            f"{sign} {target.bound:g} × {title}: {ratio:.2f} × "
            f"({format_value(metric, ours.median)} / {format_value(metric, rival)} {metric.unit})"
        )
        return Verdict(target, ratio, is_within(metric, ratio, target.bound), words)

    def _document(self) -> dict[str, Any]:
        return {
            **self.about,
            "metrics": [asdict(metric) for metric in METRICS],
            "contestants": {
                contestant.name: {
                    "title": contestant.title,
                    "wire": contestant.wire,
                    "summary": {
                        metric.key: asdict(figure)
                        for metric in METRICS
                        if (figure := self.figures.get((contestant.name, metric.key)))
                    },
                    "rounds": [asdict(outcome) for outcome in self.outcomes[contestant.name]],
                }
                for contestant in self.contestants
            },
            "targets": [asdict(verdict) for verdict in self.verdicts()],
        }


def summarize(metric: Metric, rounds: Sequence[Round]) -> Figure | None:
    """Return the metric's figure over the rounds that have it."""
    samples = tuple(r.values[metric.key] for r in rounds if metric.key in r.values)
    if not samples:
        return None
    best = min(samples) if metric.better == "less" else max(samples)
    return Figure(best, statistics.median(samples), samples)


def is_within(metric: Metric, value: float, bound: float) -> bool:
    return value <= bound if metric.better == "less" else value >= bound


def format_value(metric: Metric, value: float) -> str:
    """Write a figure in at most 7 characters, and three digits that count."""
    if metric.limit is not None and value >= metric.limit:
        return f">{metric.limit:g}"
    if value >= 10_000:
        return f"{value / 1000:.3g}k"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.1 else f"{value:.3f}"


def shorten(note: str) -> str:
    return note if len(note) <= 80 else note[:77] + "..."


def describe(contestants: Sequence[type[Contestant]], *, kind: str, rounds: int) -> dict[str, Any]:
    """Describe this computer, what is installed on it, and what is about to be done."""
    versions = {}
    for distribution in (
        "numpy",
        "cryptography",
        *(d for c in contestants for d in c.distributions),
    ):
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            versions[distribution] = "not installed as a distribution"
    return {
        "when": datetime.datetime.now().astimezone().isoformat(" ", "minutes"),
        "kind": kind,
        "rounds": rounds,
        "plan": asdict(QUICK if kind == "quick" else FULL),
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "versions": versions,
    }


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()
