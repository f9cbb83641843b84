"""The plot: one small chart per question, bigmachine in colour, its target as a line.

Dots on logarithmic axes, since the contestants lie up to a thousand times apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._metrics import BY_KEY, TARGETS, Metric

if TYPE_CHECKING:
    from benchmarks._report import Report

PANELS = (
    "cold_start_s",
    "grow_ms",
    "idle_mb",
    "null_p50_us",
    "burst_per_s",
    "busy_p99_ms",
    "upload_mb_s",
    "download_mb_s",
    "orphans_s",
)
COLUMNS = 3
OURS, FLOOR, PEER, INK, TARGET = "#c8375d", "#22282d", "#7d8b97", "#22282d", "#23795a"
GRID, QUIET = "#e3e7ea", "#68737c"
MARGIN = 1.9  # times the outermost figures: room at either side of an axis


def write(report: Report, directory: Path) -> Iterator[Path]:
    """Draw the report's medians into `bench.png` and `bench.svg`."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.edgecolor": GRID,
        "text.color": INK,
        "axes.labelcolor": INK,
        "ytick.color": INK,
        "svg.fonttype": "none",
    }
    with plt.rc_context(style):
        rows = -(-len(PANELS) // COLUMNS)
        height = 0.9 + rows * (0.95 + 0.2 * len(report.contestants))
        figure, grid = plt.subplots(rows, COLUMNS, figsize=(12.5, height), layout="constrained")
        for axes, key in zip(grid.flat, PANELS, strict=False):
            draw(axes, BY_KEY[key], report)
        about = report.about
        rounds = "One round" if about["rounds"] == 1 else f"Medians of {about['rounds']} rounds"
        title = "bigmachine beside its floor and its peers"
        figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left")
        figure.supxlabel(
            f"{rounds}; a line joins best and worst. Logarithmic. Dashed: bigmachine's target. "
            f"Loopback, {about['processors']} × {about['processor']}, Python {about['python']}. "
            "Ray and mp without TLS, the others mutual TLS 1.3.",
            fontsize=8,
            color=QUIET,
            x=0.01,
            ha="left",
        )
        layout: Any = figure.get_layout_engine()
        layout.set(hspace=0.07, wspace=0.05, w_pad=0.12, h_pad=0.1)
        for suffix in ("png", "svg"):
            path = directory / f"bench.{suffix}"
            figure.savefig(path, dpi=150)
            yield path
        plt.close(figure)


def draw(axes: Any, metric: Metric, report: Report) -> None:
    """Draw a dot for each contestant that has the metric, and say who hasn't."""
    from benchmarks._report import format_value

    rows = [(c, report.figures.get((c.name, metric.key))) for c in report.contestants]
    bound = target_value(metric, report)
    values = [value for _, figure in rows if figure for value in figure.samples]
    values += [bound] if bound else []
    if not values:
        axes.set_visible(False)
        return
    # The right margin is wider: a figure is written there.
    left, right = min(values) / MARGIN, max(values) * MARGIN**1.8
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if bound:
        axes.axvline(bound, color=TARGET, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1)
    for place, (contestant, figure) in enumerate(rows):
        axes.axhline(place, color=GRID, linewidth=0.8, zorder=0)
        if figure is None:
            words = "not measured"
            axes.text(
                left * 1.05,
                place,
                words,
                va="center",
                fontsize=7.5,
                color=QUIET,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
            continue
        is_ours = contestant.name == "bigmachine"
        colour = {"bigmachine": OURS, "ssl": FLOOR}.get(contestant.name, PEER)
        low, high = min(figure.samples), max(figure.samples)
        axes.hlines(place, low, high, color=colour, linewidth=2, zorder=2)
        axes.scatter(figure.median, place, s=70 if is_ours else 46, color=colour, zorder=3)
        axes.annotate(
            format_value(metric, figure.median),
            (high, place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            fontweight="bold" if is_ours else "normal",
            color=colour if is_ours else INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            zorder=2,
        )
    label(axes, metric, report, bound=bound)


def label(axes: Any, metric: Metric, report: Report, *, bound: float | None) -> None:
    """Name the rows, the question, and what is good."""
    axes.set_yticks(range(len(report.contestants)), [c.title for c in report.contestants])
    for text, contestant in zip(axes.get_yticklabels(), report.contestants, strict=True):
        if contestant.name == "bigmachine":
            text.set_fontweight("bold")
            text.set_color(OURS)
    axes.set_xticks([])
    axes.set_xticks([], minor=True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    title = report.title(metric)
    title = f"{title[0].upper()}{title[1:]}" + ("" if metric.unit == "/s" else f", {metric.unit}")
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", pad=16)
    good = "left is better" if metric.better == "less" else "right is better"
    axes.text(0, 1.04, good, transform=axes.transAxes, fontsize=8, color=QUIET)
    if bound:
        words = f"target {format_target(metric, bound)}"
        axes.text(1, 1.04, words, transform=axes.transAxes, fontsize=8, color=TARGET, ha="right")


def target_value(metric: Metric, report: Report) -> float | None:
    """Return what bigmachine must reach in this run, in the metric's unit."""
    for target in TARGETS:
        if target.metric == metric.key and not target.against:
            return target.bound
        if target.metric == metric.key and target.against == ("ssl",):
            floor = report.figures.get(("ssl", metric.key))
            return target.bound * floor.median if floor else None
    return None


def format_target(metric: Metric, bound: float) -> str:
    from benchmarks._report import format_value

    return f"{'≤' if metric.better == 'less' else '≥'} {format_value(metric, bound)}"
