"""Which GPUs each machine gets: as the variables say that CUDA and ROCm read."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"
_AMD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")


class GpuPool:
    """The GPUs that this process may use, each for one machine at a time.

    ``devices`` are what the variable ``name`` may list: numbers, or what the user wrote there.
    """

    def __init__(self, devices: Iterable[str], *, name: str = CUDA, order: str = "") -> None:
        self.devices = tuple(devices)
        self._name = name
        self._order = order
        self._taken: dict[str, tuple[str, ...]] = {}  # by the machine's name

    @property
    def free(self) -> tuple[str, ...]:
        """Those that no machine has."""
        taken = {device for devices in self._taken.values() for device in devices}
        return tuple(device for device in self.devices if device not in taken)

    def take(self, machine: str, count: int) -> dict[str, str]:
        """Give ``count`` of those that are `free` to a machine; return its variables."""
        devices = self._taken[machine] = self.free[:count]
        # PyTorch for ROCm reads both, and they must agree.
        names = {CUDA, self._name}
        variables = dict.fromkeys(sorted(names), ",".join(devices))
        return variables | ({_ORDER: self._order} if self._order else {})

    def give_back(self, machine: str) -> None:
        """Take back what a machine had, if it had any."""
        self._taken.pop(machine, None)


def find_gpus(environ: Mapping[str, str] = os.environ) -> GpuPool:
    """Find the GPUs that this process may use, which may wait for a driver to load.

    A variable that limits this process, as batch schedulers set it, limits its machines, too.
    """
    for name in (HIP, CUDA):
        if name in environ:
            return GpuPool(_listed(environ[name]), name=name)
    if count := _nvidia_count():
        # By default, CUDA counts the fastest first; NVML, which measures them, does not.
        order = "" if _ORDER in environ else "PCI_BUS_ID"
        return GpuPool(map(str, range(count)), order=order)
    count = len(_listed(environ[ROCR])) if ROCR in environ else _amd_count()
    return GpuPool(map(str, range(count)), name=HIP)


def _listed(value: str) -> list[str]:
    """Return what a variable lists: up to the first that is none, as CUDA reads it.

    There are numbers and names. Batch schedulers write ``-1`` or ``NoDevFiles`` for none.
    """
    devices: list[str] = []
    for device in map(str.strip, value.split(",")):
        is_one = device.isdecimal() or device.startswith(("GPU-", "MIG-"))
        if not is_one or device in devices:
            break
        devices.append(device)
    return devices


def _nvidia_count() -> int:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")  # comes with NVIDIA's driver
        if nvml.nvmlInit_v2() != 0:
            return 0
        try:
            count = ctypes.c_uint()
            has_failed = nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
            return 0 if has_failed else count.value
        finally:
            nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return 0


def _amd_count() -> int:
    """Return how many of the nodes of AMD's driver are GPUs: those with SIMD units."""
    count = 0
    for properties in _AMD_NODES.glob("*/properties"):
        try:
            values = dict(line.split(maxsplit=1) for line in properties.read_text().splitlines())
        except (OSError, ValueError):  # one that this process may not use
            continue
        count += values.get("simd_count", "0") != "0"
    return count
