"""What a look at a session shows of GPUs: as far as these say how they are."""

from __future__ import annotations

import pytest

from bigmachine.debug._board import _gpu_measures
from bigmachine.debug._measures import Measured
from bigmachine.debug._status import MachineStatus
from bigmachine.debug._text import _facts
from bigmachine.metrics import Metric, Series, Value, Variables

GIB = 1 << 30


def text_of(**values: list[float]) -> str:
    metrics = {}
    for name, numbers in values.items():
        series = [Series({"device": str(n)}, Value.of(x)) for n, x in enumerate(numbers)]
        metrics[f"bigmachine_gpu_{name}"] = Metric(name, "gauge", tuple(series))
    measures = _gpu_measures(Measured(0.0, Variables(metrics), None))
    facts = _facts(MachineStatus("m0", "running", **measures))
    return "  ".join(fact for fact in facts if "GPU" in fact)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({}, ""),
        (
            {
                "utilization": [0.9, 0.5],
                "memory_used_bytes": [6 * GIB, 0],
                "memory_total_bytes": [24 * GIB, 24 * GIB],
            },
            "2 GPUs 70%  GPU memory 12% of 48.0 GiB",
        ),
        ({"utilization": [0.25]}, "1 GPU 25%"),  # its memory is the host's
        ({"utilization": [0], "memory_used_bytes": [0], "memory_total_bytes": [0]}, "1 GPU 0%"),
        (
            {"memory_used_bytes": [GIB], "memory_total_bytes": [4 * GIB]},  # a part of one
            "GPU memory 25% of 4.0 GiB",
        ),
    ],
)
def test_status_shows_what_is_known_of_gpus(values: dict[str, list[float]], shown: str) -> None:
    assert text_of(**values) == shown
