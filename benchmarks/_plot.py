"""The plot: one small chart per metric, bigmachine in colour, its target as a line.

Dots on logarithmic axes, since contestants differ by up to a thousand times.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._metrics import BY_KEY, TARGETS, Metric
from benchmarks._results import BASELINE, OURS, Results

PANELS = (
    "cold_start_s",
    "start_more_ms",
    "idle_mb",
    "null_p50_us",
    "calls_per_s",
    "loaded_p99_ms",
    "upload_mb_s",
    "download_mb_s",
    "orphans_s",
)
COLUMNS = 3
OURS_COLOUR, BASELINE_COLOUR, PEER_COLOUR = "#c8375d", "#22282d", "#7d8b97"
TEXT, SMALL_TEXT, TARGET, GRID = "#22282d", "#68737c", "#23795a", "#e3e7ea"
COLOURS = {OURS: OURS_COLOUR, BASELINE: BASELINE_COLOUR}
MARGIN = 1.9  # times the outermost values: room at either side of an axis


def write(results: Results, directory: Path) -> Iterator[Path]:
    """Draw the medians into `bench.png` and `bench.svg`."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    style: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.edgecolor": GRID,
        "text.color": TEXT,
        "axes.labelcolor": TEXT,
        "ytick.color": TEXT,
        "svg.fonttype": "none",
    }
    with plt.rc_context(style):
        rows = -(-len(PANELS) // COLUMNS)
        height = 0.9 + rows * (0.95 + 0.2 * len(results.contestants))
        figure, grid = plt.subplots(rows, COLUMNS, figsize=(12.5, height), layout="constrained")
        for axes, key in zip(grid.flat, PANELS, strict=False):
            draw(axes, BY_KEY[key], results)
        about = results.about
        rounds = "One round" if about["rounds"] == 1 else f"Medians of {about['rounds']} rounds"
        title = "bigmachine, its baseline and its peers"
        figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left")
        figure.supxlabel(
            f"{rounds}; a line joins best and worst. Logarithmic. Dashed: bigmachine's target. "
            f"Loopback, {about['processors']} × {about['processor']}, Python {about['python']}. "
            "Ray and mp without TLS, the others mutual TLS 1.3.",
            fontsize=8,
            color=SMALL_TEXT,
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


def draw(axes: Any, metric: Metric, results: Results) -> None:
    """Draw a dot for each contestant that has the metric, and say who hasn't."""
    rows = [(c, results.summary(c.name, metric)) for c in results.contestants]
    bound = target_value(metric, results)
    values = [value for _, summary in rows if summary for value in summary.samples]
    values += [bound] if bound else []
    if not values:
        axes.set_visible(False)
        return
    # The right margin is wider: a value is written there.
    left, right = min(values) / MARGIN, max(values) * MARGIN**1.8
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if bound:
        axes.axvline(bound, color=TARGET, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1)
    for row, (contestant, summary) in enumerate(rows):
        axes.axhline(row, color=GRID, linewidth=0.8, zorder=0)
        if summary is None:
            axes.text(
                left * 1.05,
                row,
                "not measured",
                va="center",
                fontsize=7.5,
                color=SMALL_TEXT,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
            continue
        is_ours = contestant.name == OURS
        colour = COLOURS.get(contestant.name, PEER_COLOUR)
        low, high = min(summary.samples), max(summary.samples)
        axes.hlines(row, low, high, color=colour, linewidth=2, zorder=2)
        axes.scatter(summary.median, row, s=70 if is_ours else 46, color=colour, zorder=3)
        axes.annotate(
            metric.format(summary.median),
            (high, row),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            fontweight="bold" if is_ours else "normal",
            color=colour if is_ours else TEXT,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            zorder=2,
        )
    label(axes, metric, results, bound=bound)


def label(axes: Any, metric: Metric, results: Results, *, bound: float | None) -> None:
    """Name the rows and the metric, and say which direction is better."""
    axes.set_yticks(range(len(results.contestants)), [c.title for c in results.contestants])
    for text, contestant in zip(axes.get_yticklabels(), results.contestants, strict=True):
        if contestant.name == OURS:
            text.set_fontweight("bold")
            text.set_color(OURS_COLOUR)
    axes.set_xticks([])
    axes.set_xticks([], minor=True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    title = results.title(metric)
    title = f"{title[0].upper()}{title[1:]}" + ("" if metric.unit == "/s" else f", {metric.unit}")
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", pad=16)
    better = "left is better" if metric.better == "less" else "right is better"
    axes.text(0, 1.04, better, transform=axes.transAxes, fontsize=8, color=SMALL_TEXT)
    if bound:
        text = f"target {metric.sign} {metric.format(bound)}"
        axes.text(1, 1.04, text, transform=axes.transAxes, fontsize=8, color=TARGET, ha="right")


def target_value(metric: Metric, results: Results) -> float | None:
    """Return what bigmachine must reach in this run, in the metric's unit."""
    for target in TARGETS:
        if target.metric == metric.key and not target.against:
            return target.bound
        if target.metric == metric.key and target.against == (BASELINE,):
            baseline = results.summary(BASELINE, metric)
            return target.bound * baseline.median if baseline else None
    return None
