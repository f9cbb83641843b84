"""After the launch: wait for the instances' addresses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bigmachine.cloud import await_up

from ..resources._vm import Vm
from ..resources._vms import Vms

_GONE = "gone"


async def await_addresses(
    all_vms: Vms, vms: Sequence[Vm], *, is_public: bool
) -> tuple[list[Vm], list[Vm]]:
    """Wait until these instances have addresses; delete those that get none.

    Returns those that have them, in the order of their machines' names, and the others, as they
    are then. ``is_public`` is whether they must have external addresses, too. Raises `GcpError`.
    """

    async def describe(vm: Vm) -> Vm | None:
        is_new = all_vms.is_new(vm.id)
        found = await all_vms.describe(vm.id)
        if found is None and not is_new:
            return dataclasses.replace(vm, state=_GONE)
        return found

    up, down = await await_up(
        vms,
        describe=describe,
        is_up=lambda vm: bool(vm.internal_address and (vm.external_address or not is_public)),
    )
    await all_vms.delete(vm.id for vm in down)
    return sorted(up, key=lambda vm: (len(vm.name), vm.name)), down


def why_down(vm: Vm) -> str:
    """Return why an instance has no address."""
    if vm.has_ended:
        return f"its instance is {vm.state}"
    return "Google Cloud assigned no address"
