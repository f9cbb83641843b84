"""GPUs that are attached to a machine type which has none."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from bigmachine.cloud import nearest_name
from bigmachine.errors import UsageError

from ..api._api import Api
from ._machine_types import MachineType

# "GPU machine types": only N1 takes GPUs, and these types of them.
_SERIES = "n1"
# The most vCPUs of an N1 with so many GPUs ("N1 general-purpose machine series", "NVIDIA … GPUs").
_MAX_VCPUS = {
    "nvidia-tesla-p100": {1: 16, 2: 32, 4: 96},
    "nvidia-tesla-p4": {1: 24, 2: 48, 4: 96},
    "nvidia-tesla-t4": {1: 48, 2: 48, 4: 96},
    "nvidia-tesla-v100": {1: 12, 2: 24, 4: 48, 8: 96},
}


async def with_accelerators(
    api: Api,
    types: Sequence[MachineType],
    *,
    accelerator: str,
    count: int,
    zones: Collection[str],
) -> list[MachineType]:
    """Return the types with ``count`` GPUs of type ``accelerator``, where zones have both.

    Raises `UsageError` if a type can't have them, or if no zone has both; `GcpError`.
    """
    for each in types:
        _check(each, accelerator, count)
    raws = await api.read_all(
        "accelerator_types.aggregated_list",
        filter=f'name = "{accelerator}"',
        allow_unreachable=True,
    )
    found = {
        raw.zone.rpartition("/")[2]: raw
        for raw in raws
        if raw.deprecated.state not in ("OBSOLETE", "DELETED")
    }
    if not found:
        listed = await api.read_all("accelerator_types.aggregated_list", allow_unreachable=True)
        hint = nearest_name(accelerator, (raw.name for raw in listed), example="nvidia-tesla-t4")
        raise UsageError(
            f"accelerator: no zone offers {accelerator!r} to this project; {hint} List all with "
            f"`gcloud compute accelerator-types list`"
        )
    most = max(raw.maximum_cards_per_instance for raw in found.values())
    if count > most:
        raise UsageError(
            f"accelerator: an instance has at most {most} of {accelerator}, not {count}"
        )
    return [_in_zones_of_both(each, found, accelerator, count, zones) for each in types]


def _check(machine_type: MachineType, accelerator: str, count: int) -> None:
    name = machine_type.name
    if machine_type.accelerators:
        of_type = ", ".join(f"{number} × {gpu}" for gpu, number in machine_type.accelerators)
        raise UsageError(f"accelerator: {name} comes with {of_type} already: omit the option")
    if machine_type.series != _SERIES or name in ("f1-micro", "g1-small"):
        raise UsageError(
            f"accelerator: GPUs can be attached to types of the series N1 only, like "
            f"'n1-standard-4', not to {name}; other types come with theirs, as g2-standard-4 and "
            f"a2-highgpu-1g do: name such a type, and omit accelerator"
        )
    numbers = _MAX_VCPUS.get(accelerator)
    if numbers is None:
        return  # newer than this list
    if count not in numbers:
        *others, last = map(str, numbers)
        raise UsageError(
            f"accelerator: an instance has {', '.join(others)} or {last} of {accelerator}, not "
            f"{count}"
        )
    if machine_type.vcpus > numbers[count]:
        raise UsageError(
            f"accelerator: with {count} × {accelerator} an instance has at most {numbers[count]} "
            f"vCPUs, and {name} has {machine_type.vcpus}: name a smaller type, or more GPUs"
        )


def _in_zones_of_both(
    machine_type: MachineType,
    found: dict[str, Any],
    accelerator: str,
    count: int,
    zones: Collection[str],
) -> MachineType:
    both = machine_type.zones & {
        zone for zone, raw in found.items() if raw.maximum_cards_per_instance >= count
    }
    if not both.intersection(zones):
        chosen = ", ".join(sorted(zones))
        elsewhere = ", ".join(sorted(both)[:8]) or "no zone"
        raise UsageError(
            f"accelerator: {machine_type.name} with {count} × {accelerator} is not offered in "
            f"{chosen}, but in {elsewhere}: name one of these zones"
        )
    return dataclasses.replace(machine_type, zones=both, accelerators=((accelerator, count),))
