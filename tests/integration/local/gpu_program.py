"""A program whose machines have GPUs of their own; prints what they see, as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request

import bigmachine as bm


class Gpu:
    def variables(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.endswith("_DEVICES")} | {
            "order": os.environ.get("CUDA_DEVICE_ORDER", "")
        }


def gpu_metrics(variables: bm.metrics.Variables) -> dict[str, list[tuple[str, float]]]:
    return {
        name.removeprefix("bigmachine_gpu_"): [
            (one.labels["device"], one.value.sum) for one in metric.series
        ]
        for name, metric in variables.items()
        if name.startswith("bigmachine_gpu_")
    }


def error(function: object, *args: object, **kwargs: object) -> str:
    try:
        function(*args, **kwargs)
    except bm.BigmachineError as exc:
        return str(exc)
    return "none"


def open_session(**options: object) -> None:
    with bm.Session("local", **options):
        pass


def main() -> None:
    seen: dict[str, object] = {}
    services = {"Gpu": Gpu()}
    with bm.Session("local", gpus=1) as session:
        machines = session.start(2, services=services)
        seen["variables"] = [machine.call("Gpu.variables") for machine in machines]
        seen["each"] = [gpu_metrics(machine.variables()) for machine in machines]
        seen["merged"] = gpu_metrics(session.variables().merged)
        seen["too many"] = error(session.start, 1, services=services)
        machines[0].shutdown()
        [third] = session.start(1, services=services)
        seen["again"] = third.call("Gpu.variables")["CUDA_VISIBLE_DEVICES"]
        url = session.serve_debug("127.0.0.1:0")
        deadline = time.monotonic() + 60
        while "GPU" not in (text := _read(url + "debug/bigmachine/status")):
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        seen["status"] = text
    with bm.Session("local") as session:
        [machine] = session.start(1, services=services)
        seen["default"] = machine.call("Gpu.variables")
        seen["all"] = gpu_metrics(machine.variables())
    seen["three"] = error(open_session, gpus=3)
    json.dump(seen, sys.stdout)


def _read(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


if __name__ == "__main__":
    main()
