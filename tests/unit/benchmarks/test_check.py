"""`--check` reports what got worse by more than the noise, on whatever computer."""

from __future__ import annotations

import copy
import json

import pytest

from benchmarks import _check, _report
from benchmarks.__main__ import main
from benchmarks._contestant import CONTESTANTS
from benchmarks._metrics import BY_KEY, FLOOR, METRICS
from benchmarks._results import Results

SYNC, PEER = "bigmachine-sync", "rpyc"
NOISE = (1.0, 1.04, 0.97)  # of the three rounds


def document():
    """Return a run in which all contestants took part, and were much alike."""
    values = {metric.key: 100.0 + n for n, metric in enumerate(METRICS)}
    values |= {FLOOR + key: values[key] / 2 for key in ("null_p50_us", "upload_mb_s")}
    rounds = [
        {"values": {key: value * noise for key, value in values.items()}, "notes": []}
        for noise in NOISE
    ]
    about = {
        "when": "2026-11-27 12:00",
        "kind": "full",
        "plan": {"machines": 20},
        "rounds": len(rounds),
        "processor": "a processor",
        "processors": 2,
        "kernel": "6.1",
        "python": "3.11",
        "load": 0.0,
    }
    return {
        "about": about,
        "contestants": {name: {"rounds": copy.deepcopy(rounds)} for name in CONTESTANTS},
    }


def multiplied(factors, *, contestants=(SYNC,)):
    """Return that run again, with some contestants' figures changed."""
    changed = document()
    for name in contestants:
        for round_ in changed["contestants"][name]["rounds"]:
            for key, factor in factors.items():
                round_["values"][key] *= factor
    return changed


def worse(now, before=None):
    """Return the contestants' titles and the metrics that are reported."""
    changes = _check.compare(
        Results.from_document(now), Results.from_document(before or document())
    )
    assert changes
    return [(change.contestant, change.metric.key) for change in changes if change.is_worse]


def test_equal_runs_are_not_reported():
    assert worse(document()) == []


@pytest.mark.parametrize(
    ("key", "factor"),
    [("null_one_core_us", 1.3), ("calls_per_s", 0.7), ("pending_kb", 1.3), ("upload_mb_s", 0.7)],
)
def test_figure_that_got_worse_is_reported_and_its_opposite_is_not(key, factor):
    assert worse(multiplied({key: factor})) == [("bigmachine sync", key)]
    assert worse(multiplied({key: 1 / factor})) == []


def test_change_within_noise_of_rounds_is_not_reported():
    noisy = document()
    for round_, factor in zip(noisy["contestants"][SYNC]["rounds"], (1.0, 1.5, 1.0), strict=True):
        round_["values"]["null_p50_us"] *= factor
    worsened = multiplied({"null_p50_us": 1.3})
    assert worse(worsened) == [("bigmachine sync", "null_p50_us")]
    assert worse(worsened, before=noisy) == []


def test_computer_that_is_half_as_fast_is_no_regression():
    factors = {}
    for metric in METRICS:
        if metric.follows_speed:
            factors[metric.key] = 2.0 if metric.better == "less" else 0.5
    factors |= {FLOOR + "null_p50_us": 2.0, FLOOR + "upload_mb_s": 0.5}
    assert worse(multiplied(factors, contestants=CONTESTANTS)) == []
    assert worse(multiplied(factors)) != []


def test_ratio_is_to_floor_of_same_turn_or_else_of_baseline_in_same_round():
    run = document()
    for round_, factor in zip(run["contestants"]["baseline"]["rounds"], (1, 10, 100), strict=True):
        round_["values"] = {key: value * factor for key, value in round_["values"].items()}
    results = Results.from_document(run)
    beside = results.ratio(SYNC, BY_KEY["null_p50_us"])
    assert beside.samples == pytest.approx((2, 2, 2))
    apart = results.ratio(SYNC, BY_KEY["cold_start_s"])
    assert apart.samples == pytest.approx((1, 0.1, 0.01))


def test_peers_are_not_reported():
    assert worse(multiplied({"null_p50_us": 3.0}, contestants=(PEER,))) == []


def test_figure_that_could_not_be_measured_is_reported():
    run = document()
    for round_ in run["contestants"][SYNC]["rounds"]:
        del round_["values"]["submits_per_s"]
    assert worse(run) == [("bigmachine sync", "submits_per_s")]


def test_check_exits_with_1_if_something_got_worse(tmp_path, capsys):
    quick = document()
    quick["about"]["kind"] = "quick"
    runs = {
        "before": document(),
        "worse": multiplied({"start_more_ms": 2.0}),
        "quick": quick,
    }
    for name, run in runs.items():
        tmp_path.joinpath(name).write_text(json.dumps(run))

    def check(name):
        status = main(["--results", str(tmp_path / name), "--check", str(tmp_path / "before")])
        return status, capsys.readouterr()

    assert check("before")[0] == 0
    status, output = check("worse")
    assert status == 1
    line = "  bigmachine sync: 20 more machines, each: 2 × the floor, was 1 × the floor (noise 0.1)"
    assert line in output.out.splitlines()
    status, output = check("quick")
    assert status == 2
    assert "a quick run can't be compared with a full one" in output.err


def test_report_of_all_contestants_has_at_most_100_columns():
    results = Results.from_document(document())
    assert set(CONTESTANTS) == {contestant.name for contestant in results.contestants}
    lines = _report.table(results).splitlines()
    assert all(len(line) <= 100 for line in lines), max(lines, key=len)
    for contestant in results.contestants:
        assert sum(line.startswith(f"{contestant.title} ") for line in lines) == 4
