"""Measures the NVIDIA GPUs that a machine may use, by NVML, a library of NVIDIA's driver."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..metrics import Metric, Series, Value

logger = logging.getLogger("bigmachine.machine")

_LIBRARY = "libnvidia-ml.so.1"
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Gpus:
    """The GPUs of this host; of these, those that CUDA shows to this process.

    The driver is looked for when it is first asked for `metrics`. They may take seconds.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._nvml: Any = None  # the module pynvml, which has no types
        self._was_tried = False

    @property
    def may_exist(self) -> bool:
        """Whether there are some, or it is not known yet."""
        return self._nvml is not None or not self._was_tried

    def metrics(self) -> list[Metric]:
        """Return their metrics by ``device``; none where there is no GPU."""
        if not self._was_tried:
            self._nvml, self._was_tried = _load_nvml(), True
        if self._nvml is None:
            return []
        devices = [*_visible_devices(self._nvml, self._environ.get(_VISIBLE))]
        made = (self._metric(devices, *line) for line in _measures(self._nvml))
        return [metric for metric in made if metric.series]

    def _metric(
        self,
        devices: list[tuple[str, Any]],
        name: str,
        unit: str,
        help: str,
        measure: Callable[[Any], float],
    ) -> Metric:
        series = []
        for device, handle in devices:
            with contextlib.suppress(self._nvml.NVMLError):  # not every GPU measures all of them
                labels = {"device": device, "model": self._nvml.nvmlDeviceGetName(handle)}
                series.append(Series(labels, Value.of(measure(handle))))
        return Metric(f"bigmachine_gpu_{name}", "gauge", tuple(series), help, unit, "host")


def _measures(nvml: Any) -> Iterator[tuple[str, str, str, Callable[[Any], float]]]:
    def utilization(gpu: Any) -> float:
        return float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu) / 100

    def used(gpu: Any) -> float:
        return int(nvml.nvmlDeviceGetMemoryInfo(gpu).used)

    def total(gpu: Any) -> float:
        return int(nvml.nvmlDeviceGetMemoryInfo(gpu).total)

    def temperature(gpu: Any) -> float:
        return int(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))

    def power(gpu: Any) -> float:
        return float(nvml.nvmlDeviceGetPowerUsage(gpu)) / 1000

    yield "utilization", "", "Part of the last second or so in which it has computed", utilization
    yield "memory_used_bytes", "bytes", "Memory in use, of all processes", used
    yield "memory_total_bytes", "bytes", "Memory that it has", total
    yield "temperature_celsius", "celsius", "Its temperature", temperature
    yield "power_watts", "watts", "What it consumes", power


def _load_nvml() -> Any:
    """Return the module pynvml, ready to use; None if there is no driver, or no such module."""
    import ctypes  # late: most machines are never asked

    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    try:
        import pynvml
    except ImportError:
        logger.info("the GPUs here are not measured: install bigmachine[gpu] on the driver")
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as exc:  # the driver's module is not loaded, or is of another version
        logger.warning("the GPUs here are not measured: NVIDIA's driver says: %s", exc)
        return None
    return pynvml


def _visible_devices(nvml: Any, visible: str | None) -> Iterator[tuple[str, Any]]:
    """Yield names and handles: NVML itself knows nothing of what CUDA shows."""
    with contextlib.suppress(nvml.NVMLError):
        all_devices = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        if visible is None:
            yield from ((str(number), handle) for number, handle in enumerate(all_devices))
            return
        for name in map(str.strip, visible.split(",")):
            if name.isdecimal() and int(name) < len(all_devices):
                yield name, all_devices[int(name)]
            elif name.startswith("MIG-"):  # a part of one
                with contextlib.suppress(nvml.NVMLError):
                    yield name, nvml.nvmlDeviceGetHandleByUUID(name)
            elif name.startswith("GPU-"):  # perhaps only the beginning of its name
                for number, handle in enumerate(all_devices):
                    if nvml.nvmlDeviceGetUUID(handle).startswith(name):
                        yield str(number), handle
            else:  # CUDA, too, ignores what follows
                return
