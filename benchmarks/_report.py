"""A run's results as tables for the terminal, as JSON, and as a plot."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import _plot
from benchmarks._metrics import BY_KEY
from benchmarks._results import Results

CELL = 9  # columns of a value, at least, with the space before it: 19 + 8 × 10 = 99
BUSY_LOAD = 0.5  # processes that run or wait, per processor, before the run
NOTE_LENGTH = 80


class Column(NamedTuple):
    """A metric, or its ratio to the floor, with a heading of two lines."""

    key: str
    heading: str
    is_ratio: bool = False


# Contestants are rows, of which there are more than fit beside each other.
TABLES = {
    "Null calls, one after the other": (
        Column("null_p50_us", "median\nµs"),
        Column("null_one_core_us", "one core\nµs"),
        Column("null_two_cores_us", "two cores\nµs"),
        Column("null_p50_us", "median\n× floor", is_ratio=True),
        Column("null_one_core_us", "one core\n× floor", is_ratio=True),
        Column("null_two_cores_us", "two cores\n× floor", is_ratio=True),
        Column("null_p99_us", "p99\nµs"),
        Column("null_cpu_us", "CPU\nµs"),
    ),
    "Many calls, and null calls meanwhile": (
        Column("calls_per_s", "64 calls\n/s"),
        Column("calls_in_threads_per_s", "64 `def`\n/s"),
        Column("submits_per_s", "100,000\n/s"),
        Column("pending_kb", "pending\nkB"),
        Column("items_down_per_s", "items\ndown, /s"),
        Column("items_up_per_s", "items\nup, /s"),
        Column("loaded_p99_ms", "null p99\nloaded, ms"),
        Column("busy_p99_ms", "null p99\nbusy, ms"),
    ),
    "Arrays of 64 MiB, and a service of 512 MiB": (
        Column("upload_mb_s", "up\nMB/s"),
        Column("download_mb_s", "down\nMB/s"),
        Column("upload_mb_s", "up\n× floor", is_ratio=True),
        Column("download_mb_s", "down\n× floor", is_ratio=True),
        Column("state_s", "state\ns"),
        Column("state_peak_times", "peak\n×"),
    ),
    "Processes: starting, memory, ending": (
        Column("cold_start_s", "cold\ns"),
        Column("start_more_ms", "more\nms each"),
        Column("import_s", "import\ns"),
        Column("idle_mb", "idle\nMB"),
        Column("driver_kb", "driver\nkB"),
        Column("parallel_times", "parallel\n×"),
        Column("failure_ms", "killed\nms"),
        Column("orphans_s", "orphaned\ns"),
    ),
}
LEGEND = """\
floor: a blocking ping-pong, or transfer, over `ssl` sockets, in turns with each contestant in
its driver, and placed alike. one core, two cores: both ends pinned to one, or each end to its
own; else the kernel places them. CPU: of both ends, per call. 64: calls in flight; `def`: of
methods in threads; 100,000: calls pending at once, and what each takes of the driver's memory.
items: of streams. up, down: bigmachine trio over the wire, bigmachine sync by shared memory.
state: until 4 machines have a service with 512 MiB; peak: of the driver's memory, times
that. loaded: during transfers; busy: while the machine computes in Python. parallel: two
processes against one. killed: from a machine's end to that of its call; orphaned: from a
driver's end to that of its machines. cold: until the first answer; more: each of {machines}
more machines. driver: its memory for each of 1,000 machines."""


def write(results: Results, directory: Path) -> Iterator[Path]:
    """Write every form of the report into `directory`; yield the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("bench.json", json.dumps(results.document(), indent=1)),
        ("bench.txt", table(results)),
    ):
        (directory / name).write_text(text + "\n")
        yield directory / name
    if importlib.util.find_spec("matplotlib"):
        yield from _plot.write(results, directory)


def table(results: Results) -> str:
    """Return the report as text, at most 100 columns wide."""
    lines = [*heading(results), ""]
    for title, columns in TABLES.items():
        if found := rows(results, columns):
            lines += [title, *found, ""]
    legend = LEGEND.format(machines=results.about["plan"]["machines"])
    return "\n".join([*lines, legend, "", *notes(results), "", *targets(results)])


# -- parts of the report -------------------------------------------------------


def heading(results: Results) -> list[str]:
    about = results.about
    rounds = f"medians of {about['rounds']} rounds" if about["rounds"] > 1 else "1 round"
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


def rows(results: Results, columns: tuple[Column, ...]) -> list[str]:
    """Return a table: two lines of headings, and a row for each contestant that has a value."""
    label = max(len(contestant.title) for contestant in results.contestants)
    widths = [max(CELL, *map(len, column.heading.split("\n"))) for column in columns]
    lines = []
    for number in range(2):
        headings = (column.heading.split("\n")[number] for column in columns)
        cells = (f" {text:>{width}}" for text, width in zip(headings, widths, strict=True))
        lines.append(" " * label + "".join(cells))
    lines.append("─" * max(map(len, lines)))
    values = {c: [cell(results, c.name, column) for column in columns] for c in results.contestants}
    found = [
        f"{contestant.title:<{label}}"
        + "".join(f" {text:>{width}}" for text, width in zip(texts, widths, strict=True))
        for contestant, texts in values.items()
        if set(texts) != {"–"}
    ]
    return lines + found if found else []


def cell(results: Results, contestant: str, column: Column) -> str:
    metric = BY_KEY[column.key]
    if column.is_ratio:
        ratio = results.ratio(contestant, metric)
        return f"{ratio.median:.2f}" if ratio else "–"
    summary = results.summary(contestant, metric)
    return metric.format(summary.median) if summary else "–"


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
        f"  {mark[v.is_met]:<7}{v.target.of.removeprefix('bigmachine-')} "
        f"{results.title(BY_KEY[v.target.metric]):<29} {v.text}"
        for v in verdicts
    ]


def shorten(note: str) -> str:
    return note if len(note) <= NOTE_LENGTH else note[: NOTE_LENGTH - 3] + "..."
