"""A run of the benchmarks measures each contestant beside the floor, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks._measure import NULL_KEYS
from benchmarks._metrics import FLOOR
from tests.support.paths import ROOT

CONTESTANTS = ["baseline", "bigmachine-sync", "bigmachine-trio", "forkserver", "executor"]


@pytest.mark.long
@pytest.mark.timeout(400)  # the first run compiles all that is installed
def test_quick_run_measures_all_contestants_that_need_no_installation(tmp_path):
    options = ["--quick", "--rounds", "1", "--only", ",".join(CONTESTANTS), "--out", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks", *options]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=380)
    found = json.loads((tmp_path / "bench.json").read_text())["contestants"]
    assert list(found) == CONTESTANTS
    for of_contestant in found.values():
        [round_] = of_contestant["rounds"]
        measured = round_["values"]
        for key in (*NULL_KEYS.values(), "calls_per_s", "upload_mb_s", "download_mb_s"):
            assert min(measured[key], measured[FLOOR + key]) > 0
        assert {"cold_start_s", "start_more_ms", "failure_ms", "orphans_s"} <= set(measured)
        assert not [note for note in round_["notes"] if "outlived" not in note]
    assert "busy_p99_ms" in found["bigmachine-sync"]["rounds"][0]["values"]
