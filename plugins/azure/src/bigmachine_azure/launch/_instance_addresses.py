"""After the launch: wait for the VMs' addresses."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from bigmachine.cloud import await_up, report_down

from ..resources._vm import Vm
from ..resources._vms import Vms

logger = logging.getLogger("bigmachine.azure")


async def await_addresses(all_vms: Vms, vms: Sequence[Vm], *, is_public: bool) -> list[Vm]:
    """Wait until these VMs have addresses; delete those that get none.

    Returns the others, as they are then, in the order of their machines' names. ``is_public`` is
    whether they must have public addresses, too. Raises `StartError` if none gets its addresses,
    and `AzureError`.
    """

    async def describe(vm: Vm) -> Vm | None:
        is_new = all_vms.is_new(vm.id)
        found = await all_vms.describe(vm.id)
        if found is None:
            return None if is_new else dataclasses.replace(vm, provisioning_state="deleting")
        [complete] = await all_vms.with_addresses([found])
        return complete

    up, down = await await_up(
        vms,
        describe=describe,
        is_up=lambda vm: bool(vm.internal_address and (vm.external_address or not is_public)),
    )
    ids = {vm.id for vm in down}
    await all_vms.delete(ids, at_once=ids)
    report_down(up, down, why=_why_down, logger=logger)
    return sorted(up, key=lambda vm: (len(vm.name), vm.name))


def _why_down(vm: Vm) -> str:
    return f"its VM is {vm.state}" if vm.has_ended else "Azure assigned no address"
