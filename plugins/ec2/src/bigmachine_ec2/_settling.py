"""What becomes of instances that were just bought: they get addresses, and are told their names."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import trio

from bigmachine.errors import StartError
from bigmachine.system import Instance

from ._batch import for_each
from ._errors import AwsError
from ._machines import Machines, Vm
from ._pace import polls

logger = logging.getLogger("bigmachine.ec2")

_ADDRESS_TIMEOUT = 120.0  # an address comes within seconds of the launch
_NAMES_TIMEOUT = 60.0  # thousands take a quarter of it


async def settle(
    machines: Machines, vms: Sequence[Vm], *, names: Sequence[str], is_public: bool
) -> list[Instance]:
    """Wait until these have addresses; return those that do, by these names, and free the others.

    ``is_public`` says which address. Raises `StartError` if none comes up, and `AwsError`.
    """
    settled: dict[str, Vm] = {}

    async def await_address(vm: Vm) -> None:
        for pause in polls():
            found = await machines.look(vm.id)
            if found is not None:
                settled[vm.id] = found
                if found.instance(is_public=is_public).address or found.is_gone:
                    return
            await trio.sleep(pause)

    with trio.move_on_after(_ADDRESS_TIMEOUT):
        await for_each(vms, await_address)
    instances = []
    failures = []
    for bought, name in zip(vms, names, strict=False):
        vm = dataclasses.replace(settled.get(bought.id, bought), name=name)
        instance = vm.instance(is_public=is_public)
        if instance.address and not vm.is_gone:
            instances.append(instance)
        else:
            why = vm.gone().detail if vm.is_gone else "EC2 gives it no address"
            failures.append(f"{vm.name} ({vm.id}) did not come up: {why}")
    known = {instance.id for instance in instances}
    await machines.free(vm.id for vm in vms if vm.id not in known)
    if not instances:
        raise StartError("; ".join(failures))
    for failure in failures:
        logger.warning("%s", failure)
    return instances


async def tell_names(machines: Machines, instances: Sequence[Instance]) -> None:
    """Tag instances with their names, for other processes, which can do without."""
    labels = {instance.id: instance.name.partition(".")[0] for instance in instances}
    try:
        with trio.move_on_after(_NAMES_TIMEOUT):
            await machines.name(labels)
    except AwsError as error:
        logger.warning("instances are listed by their ids, not by their names: %s", error)
