"""A run's results as a table for the terminal, as JSON, and as a plot."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import _plot
from benchmarks._metrics import BY_KEY, METRICS
from benchmarks._results import Results

LABEL, CELL = 29, 8  # columns of the table's label and of a value: 29 + 5 + 6 × 9 + 11 = 99
BUSY_LOAD = 0.5  # processes that run or wait, per processor, before the run
NOTE_LENGTH = 80


def write(results: Results, directory: Path) -> Iterator[Path]:
    """Write every form of the report into `directory`; yield the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("bench.json", json.dumps(document(results), indent=1)),
        ("bench.txt", table(results)),
    ):
        (directory / name).write_text(text + "\n")
        yield directory / name
    if importlib.util.find_spec("matplotlib"):
        yield from _plot.write(results, directory)


def table(results: Results) -> str:
    """Return the report as text, at most 100 columns wide."""
    lines = [*heading(results), "", *rows(results), "", *notes(results), "", *targets(results)]
    return "\n".join(lines)


def document(results: Results) -> dict[str, Any]:
    """Return the report for `bench.json`: every round, all summaries and verdicts."""
    return {
        **results.about,
        "metrics": [asdict(metric) for metric in METRICS],
        "contestants": {
            contestant.name: {
                "title": contestant.title,
                "wire": contestant.wire,
                "summary": {
                    metric.key: asdict(summary)
                    for metric in METRICS
                    if (summary := results.summary(contestant.name, metric))
                },
                "rounds": [asdict(round_) for round_ in results.rounds[contestant.name]],
            }
            for contestant in results.contestants
        },
        "targets": [asdict(verdict) for verdict in results.verdicts()],
    }


# -- parts of the table --------------------------------------------------------


def heading(results: Results) -> list[str]:
    about = results.about
    rounds = f"{about['rounds']} round{'s' if about['rounds'] > 1 else ''}"
    lines = [
        f"{about['processors']} × {about['processor']}, Linux {about['kernel']}, "
        f"Python {about['python']}",
        f"{about['when']}, load {about['load']:.1f} before the run; {rounds}, {about['kind']}; "
        "loopback",
    ]
    if about["load"] >= BUSY_LOAD * about["processors"]:
        # Other work changes even the ratios within a run.
        lines.append("THIS COMPUTER WAS BUSY with other work: neither figures nor verdicts hold.")
    return lines


def rows(results: Results) -> list[str]:
    widths = {c.name: max(CELL, len(c.title)) for c in results.contestants}
    titles = "".join(f" {c.title:>{widths[c.name]}}" for c in results.contestants)
    lines = [" " * (LABEL + 5) + titles]
    lines.append("─" * len(lines[0]))
    for metric in METRICS:
        if not any(results.summary(c.name, metric) for c in results.contestants):
            continue
        for kind in ("median", "best") if results.about["rounds"] > 1 else ("median",):
            label = results.title(metric) if kind == "median" else ""
            unit = metric.unit if kind == "median" else "best"
            cells = ""
            for contestant in results.contestants:
                summary = results.summary(contestant.name, metric)
                value = metric.format(getattr(summary, kind)) if summary else "–"
                cells += f" {value:>{widths[contestant.name]}}"
            lines.append(f"{label:<{LABEL}}{unit:>5}{cells}".rstrip())
    return lines


def notes(results: Results) -> list[str]:
    """Say how each contestant's bytes travel, and what went wrong in its rounds."""
    lines = [f"{c.title}: {c.wire}" for c in results.contestants]
    for contestant in results.contestants:
        found = dict.fromkeys(n for r in results.rounds[contestant.name] for n in r.notes)
        lines += [f"{contestant.title}: {shorten(note)}" for note in found]
    return lines


def targets(results: Results) -> list[str]:
    mark = {True: "met", False: "MISSED", None: "?"}
    verdicts = results.verdicts()
    if not verdicts:
        return ["No targets: bigmachine did not take part."]
    return ["Targets (medians of this run)"] + [
        f"  {mark[v.is_met]:<7}{results.title(BY_KEY[v.target.metric]):<{LABEL}} {v.text}"
        for v in verdicts
    ]


def shorten(note: str) -> str:
    return note if len(note) <= NOTE_LENGTH else note[: NOTE_LENGTH - 3] + "..."
