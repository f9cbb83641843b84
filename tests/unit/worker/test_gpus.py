"""Which GPUs a machine measures, by a driver for tests, in a process of its own that loads it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from bigmachine.worker._gpus import _measures
from tests.docs.markdown import ROOT, section
from tests.support.nvml import build_nvml

PAGE = ROOT / "docs/gpus.md"

MEASURE = """
import json, logging, os, sys
from bigmachine.worker._gpus import Gpus

def devices(visible):
    gpus = Gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    found = {metric.name: metric for metric in gpus.metrics()}
    metric = found.get("bigmachine_gpu_temperature_celsius")
    return [] if metric is None else [(s.labels["device"], s.value.sum) for s in metric.series]

logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
cases = (None, "1", "GPU-9999", "GPU-9999,0", "MIG-1,0", "0,-1,1", "7", "")
seen = [devices(visible) for visible in cases]
os.environ["NVML_BROKEN"] = "1"
seen.append(devices(None))
sys.modules["pynvml"] = None
seen.append(devices(None))
print(json.dumps(seen))
"""


def test_metrics_of_gpus_are_those_that_are_documented() -> None:
    documented = re.findall(r"`bigmachine_gpu_(\w+)`", section(PAGE, "How busy they are"))
    assert {name for name, *_ in _measures(None)} == set(documented)


def test_machine_measures_only_gpus_that_cuda_shows_it(tmp_path: Path) -> None:
    environ = os.environ | build_nvml(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env=environ, capture_output=True, text=True, check=True
    )
    first, second = ["0", 40], ["1", 41]
    assert json.loads(done.stdout) == [
        *([first, second], [second], [second], [second, first], [first], [first], [], []),
        *([], []),  # the driver is broken; there is no pynvml
    ]
    warning, info = done.stderr.splitlines()
    assert warning == (
        "WARNING the GPUs here are not measured: NVIDIA's driver says: Driver Not Loaded"
    )
    assert info == ("INFO the GPUs here are not measured: install bigmachine[gpu] on the driver")
