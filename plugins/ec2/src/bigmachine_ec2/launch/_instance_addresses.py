"""After the launch: wait for the instances' addresses, and tag them with their names."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import trio

from bigmachine.cloud import await_up
from bigmachine.system import Instance

from ..api._errors import AwsError
from ..resources._vm import Vm
from ..resources._vms import Vms

logger = logging.getLogger("bigmachine.ec2")

_NAMES_TIMEOUT = 60.0  # thousands of instances take a quarter of it


async def await_addresses(
    region_vms: Vms, vms: Sequence[Vm], *, names: Sequence[str], is_public: bool
) -> tuple[list[Vm], list[Vm]]:
    """Wait until these instances have addresses; terminate those that get none.

    Returns those that have one, and the others, under these names, as they are then. ``is_public``
    selects the public or the private address. Raises `AwsError`.
    """

    async def describe(vm: Vm) -> Vm | None:
        found = await region_vms.describe(vm.id)
        return found and dataclasses.replace(found, name=vm.name)

    named = [dataclasses.replace(vm, name=name) for vm, name in zip(vms, names, strict=False)]
    up, down = await await_up(
        named, describe=describe, is_up=lambda vm: bool(vm.instance(is_public=is_public).address)
    )
    started = {vm.id for vm in up}
    await region_vms.terminate(vm.id for vm in vms if vm.id not in started)
    return up, down


def why_down(vm: Vm) -> str:
    """Return why an instance has no address."""
    return vm.termination().detail if vm.has_ended else "EC2 assigned no address"


async def tag_names(region_vms: Vms, instances: Sequence[Instance]) -> None:
    """Tag instances with their names, for other processes. A failure is logged, and no error."""
    labels = {instance.id: instance.name.partition(".")[0] for instance in instances}
    try:
        with trio.move_on_after(_NAMES_TIMEOUT):
            await region_vms.tag_labels(labels)
    except AwsError as error:
        logger.warning("instances are listed by their ids, not by their names: %s", error)
