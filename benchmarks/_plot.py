"""The plot: one small chart per metric, bigmachine in colour, its target as a line.

Dots on logarithmic axes, since contestants differ by up to a thousand times.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._metrics import BY_KEY, TARGETS, Target
from benchmarks._results import BASELINE, OURS, Results


class Panel(NamedTuple):
    """A metric, or its ratio to the floor."""

    key: str
    is_ratio: bool = False


PANELS = (
    Panel("null_p50_us"),
    Panel("null_p50_us", is_ratio=True),
    Panel("null_one_core_us", is_ratio=True),
    Panel("calls_per_s"),
    Panel("upload_mb_s"),
    Panel("download_mb_s"),
    Panel("cold_start_s"),
    Panel("start_more_ms"),
    Panel("idle_mb"),
)
COLUMNS = 3
OURS_COLOUR, BASELINE_COLOUR, PEER_COLOUR = "#c8375d", "#22282d", "#7d8b97"
TEXT, SMALL_TEXT, TARGET, GRID = "#22282d", "#68737c", "#23795a", "#e3e7ea"
COLOURS = {**dict.fromkeys(OURS, OURS_COLOUR), BASELINE: BASELINE_COLOUR}
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
        height = 0.9 + rows * (0.8 + 0.19 * len(results.contestants))
        figure, grid = plt.subplots(rows, COLUMNS, figsize=(13.5, height), layout="constrained")
        for axes, panel in zip(grid.flat, PANELS, strict=False):
            draw(axes, panel, results)
        about = results.about
        rounds = "One round" if about["rounds"] == 1 else f"Medians of {about['rounds']} rounds"
        title = "bigmachine, its baseline and its peers"
        figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left")
        figure.supxlabel(
            f"{rounds}; a line joins best and worst. Logarithmic. Dashed: target. "
            f"Loopback, {about['processors']} × {about['processor']}, Python {about['python']}. "
            "Mutual TLS 1.3; none: mp, ProcessPoolExecutor, loky, Ray.",
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


def draw(axes: Any, panel: Panel, results: Results) -> None:
    """Draw a dot for each contestant that has the metric, and say who hasn't."""
    metric = BY_KEY[panel.key]
    take = results.ratio if panel.is_ratio else results.summary
    rows = [(c, take(c.name, metric)) for c in results.contestants]
    target = target_of(panel)
    values = [value for _, summary in rows if summary for value in summary.samples]
    if not values:
        axes.set_visible(False)
        return
    values += [target.bound] if target else []
    # The right margin is wider: a value is written there.
    left, right = min(values) / MARGIN, max(values) * MARGIN**1.8
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if target:
        axes.axvline(target.bound, color=TARGET, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1)
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
        is_ours = contestant.name in OURS
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
    label(axes, panel, results, target=target)


def label(axes: Any, panel: Panel, results: Results, *, target: Target | None) -> None:
    """Name the rows and the metric, and say which direction is better."""
    axes.set_yticks(range(len(results.contestants)), [c.title for c in results.contestants])
    for text, contestant in zip(axes.get_yticklabels(), results.contestants, strict=True):
        if contestant.name in OURS:
            text.set_fontweight("bold")
            text.set_color(OURS_COLOUR)
    axes.set_xticks([])
    axes.set_xticks([], minor=True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    metric = BY_KEY[panel.key]
    title = results.title(metric)
    unit = "× floor" if panel.is_ratio else metric.unit
    title = f"{title[0].upper()}{title[1:]}" + ("" if unit == "/s" else f", {unit}")
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", pad=16)
    better = "left is better" if metric.better == "less" else "right is better"
    axes.text(0, 1.04, better, transform=axes.transAxes, fontsize=8, color=SMALL_TEXT)
    if target:
        name = target.of.removeprefix("bigmachine-")
        text = f"target of {name} {metric.sign} {metric.format(target.bound)}"
        axes.text(1, 1.04, text, transform=axes.transAxes, fontsize=8, color=TARGET, ha="right")


def target_of(panel: Panel) -> Target | None:
    """Return what bigmachine must reach, if that is in the panel's unit."""
    against = (BASELINE,) if panel.is_ratio else ()
    found = (t for t in TARGETS if t.metric == panel.key and t.against == against)
    return next(found, None)
