"""After the launch: wait for the instances' addresses, and tag them with their names."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import trio

from bigmachine.cloud import for_each, poll_intervals
from bigmachine.errors import StartError
from bigmachine.system import Instance

from ._errors import AwsError
from ._vms import Vm, Vms

logger = logging.getLogger("bigmachine.ec2")

_ADDRESS_TIMEOUT = 120.0  # an address comes within seconds of the launch
_SHOWN = 3  # failures in an error: most often all are alike
_NAMES_TIMEOUT = 60.0  # thousands of instances take a quarter of it


async def await_addresses(
    region_vms: Vms, vms: Sequence[Vm], *, names: Sequence[str], is_public: bool
) -> tuple[list[Vm], list[Vm]]:
    """Wait until these instances have addresses; terminate those that get none.

    Returns those that have one, and the others, under these names, as they are then. ``is_public``
    selects the public or the private address. Raises `AwsError`.
    """
    described: dict[str, Vm] = {}

    async def await_address(vm: Vm) -> None:
        for delay in poll_intervals():
            found = await region_vms.describe(vm.id)
            if found is not None:
                described[vm.id] = found
                if found.instance(is_public=is_public).address or found.has_ended:
                    return
            await trio.sleep(delay)

    with trio.move_on_after(_ADDRESS_TIMEOUT):
        await for_each(vms, await_address)
    up: list[Vm] = []
    down: list[Vm] = []
    for launched, name in zip(vms, names, strict=False):
        vm = dataclasses.replace(described.get(launched.id, launched), name=name)
        is_up = bool(vm.instance(is_public=is_public).address) and not vm.has_ended
        (up if is_up else down).append(vm)
    started = {vm.id for vm in up}
    await region_vms.terminate(vm.id for vm in vms if vm.id not in started)
    return up, down


def report_down(up: Sequence[Vm], down: Sequence[Vm]) -> None:
    """Log why instances did not come up. Raises `StartError` if none did."""
    failures = []
    for vm in down:
        why = vm.termination().detail if vm.has_ended else "EC2 assigned no address"
        failures.append(f"{vm.name} ({vm.id}) did not come up: {why}")
    if not up:
        more = f"; and {len(failures) - _SHOWN} more did not" if len(failures) > _SHOWN else ""
        raise StartError("; ".join(failures[:_SHOWN]) + more)
    for failure in failures:
        logger.warning("%s", failure)


async def tag_names(region_vms: Vms, instances: Sequence[Instance]) -> None:
    """Tag instances with their names, for other processes. A failure is logged, and no error."""
    labels = {instance.id: instance.name.partition(".")[0] for instance in instances}
    try:
        with trio.move_on_after(_NAMES_TIMEOUT):
            await region_vms.tag_labels(labels)
    except AwsError as error:
        logger.warning("instances are listed by their ids, not by their names: %s", error)
