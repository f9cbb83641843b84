"""Machines with GPUs of their own, on a computer whose NVIDIA driver is one for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bigmachine as bm
from bigmachine_local import _gpus
from bigmachine_local._gpus import find_gpus
from tests.support.nvml import build_nvml

PROGRAM = Path(__file__).with_name("gpu_program.py")
NAMES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program has seen."""
    environ = {name: value for name, value in os.environ.items() if name not in NAMES}
    environ |= build_nvml(tmp_path_factory.mktemp("nvml"))
    done = subprocess.run(
        [sys.executable, PROGRAM], env=environ, stdout=subprocess.PIPE, check=True, timeout=100
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_each_machine_has_a_gpu_that_no_other_has(seen: dict[str, Any]) -> None:
    assert seen["variables"] == [
        {"CUDA_VISIBLE_DEVICES": number, "order": "PCI_BUS_ID"} for number in ("0", "1")
    ]


@pytest.mark.long
def test_too_few_gpus_are_an_error_before_anything_starts(seen: dict[str, Any]) -> None:
    assert seen["too many"] == (
        "can't start 1 machines: 1 GPU each (option gpus), and 0 of 2 are free"
    )
    assert seen["three"].startswith(
        "invalid option gpus: this computer has only 2 that this program may use"
    )


@pytest.mark.long
def test_gpu_of_machine_that_was_shut_down_is_free_again(seen: dict[str, Any]) -> None:
    assert seen["again"] == "0"


@pytest.mark.long
def test_machine_measures_the_gpus_that_it_may_use(seen: dict[str, Any]) -> None:
    first, second = seen["each"]
    gib = 1 << 30
    assert first == {
        "utilization": [["0", 0.9]],
        "memory_used_bytes": [["0", 6 * gib]],
        "memory_total_bytes": [["0", 24 * gib]],
        "temperature_celsius": [["0", 40]],
    }
    assert second["utilization"] == [["1", 0]]
    assert seen["all"]["temperature_celsius"] == [["0", 40], ["1", 41]]
    assert seen["default"] == {"order": ""}


@pytest.mark.long
def test_gpus_of_machines_of_one_host_are_merged_each_once(seen: dict[str, Any]) -> None:
    assert sorted(seen["merged"]["memory_used_bytes"]) == [["0", 6 << 30], ["1", 1 << 30]]


@pytest.mark.long
def test_status_shows_gpus(seen: dict[str, Any]) -> None:
    assert "  1 GPU 90%  GPU memory 25% of 24.0 GiB  " in seen["status"]


def test_limits_of_the_driver_itself_hold_for_its_machines() -> None:
    gpus = find_gpus({"CUDA_VISIBLE_DEVICES": "3,GPU-11, 5"})
    assert gpus.take("m0", 2) == {"CUDA_VISIBLE_DEVICES": "3,GPU-11"}
    assert gpus.free == ("5",)
    gpus.give_back("m0")
    gpus.give_back("m0")
    assert gpus.free == ("3", "GPU-11", "5")
    assert find_gpus({"CUDA_VISIBLE_DEVICES": ""}).devices == ()
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "1,-1,2"}).devices == ("1",)
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}).devices == ()
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "MIG-GPU-1/7/0,MIG-2"}).take("m0", 1) == {
        "CUDA_VISIBLE_DEVICES": "MIG-GPU-1/7/0"
    }
    amd = find_gpus({"HIP_VISIBLE_DEVICES": "2,3"})
    assert amd.take("m0", 1) == {"CUDA_VISIBLE_DEVICES": "2", "HIP_VISIBLE_DEVICES": "2"}


def test_amds_gpus_are_counted_without_its_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node, simd_count in enumerate([0, 208, 208]):
        (tmp_path / str(node)).mkdir()
        lines = f"cpu_cores_count 0\nsimd_count {simd_count}\n"
        (tmp_path / str(node) / "properties").write_text(lines)
    monkeypatch.setattr(_gpus, "_AMD_NODES", tmp_path)
    assert find_gpus({}).take("m0", 2)["HIP_VISIBLE_DEVICES"] == "0,1"
    assert find_gpus({"ROCR_VISIBLE_DEVICES": "1"}).devices == ("0",)


def test_computer_without_gpus_is_told_from_one_with_too_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with (
        pytest.raises(bm.UsageError, match="gpus: this computer has no GPU that this program"),
        bm.Session("local", gpus=1),
    ):
        pass
