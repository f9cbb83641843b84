"""After the launch: wait for the instances' addresses."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import trio

from bigmachine.cloud import for_each, poll_intervals
from bigmachine.errors import StartError

from ._vms import Vm, Vms

logger = logging.getLogger("bigmachine.gcp")

_ADDRESS_TIMEOUT = 120.0  # an address comes within seconds of the launch
_SHOWN = 3  # failures in an error: most often all are alike


async def await_addresses(all_vms: Vms, vms: Sequence[Vm], *, is_public: bool) -> list[Vm]:
    """Wait until these instances have addresses; delete those that get none.

    Returns the others, as they are then, in the order of their machines' names. ``is_public`` is
    whether they must have external addresses, too. Raises `StartError` if none gets its addresses,
    and `GcpError`.
    """
    await trio.lowlevel.checkpoint()  # a start that was cancelled meanwhile ends here
    described = {vm.id: vm for vm in vms}

    async def await_address(vm: Vm) -> None:
        for delay in poll_intervals():
            if _is_ready(vm, is_public=is_public):
                return
            await trio.sleep(delay)
            found = await all_vms.describe(vm.id)
            if found is None and all_vms.is_new(vm.id):
                continue
            if found is None:
                described.pop(vm.id)
                return
            described[vm.id] = vm = found
            if vm.has_ended:
                return

    with trio.move_on_after(_ADDRESS_TIMEOUT):
        await for_each(vms, await_address)
    ready: list[Vm] = []
    failures: list[str] = []
    for launched in vms:
        vm = described.get(launched.id)
        if vm is not None and _is_ready(vm, is_public=is_public):
            ready.append(vm)
            continue
        why = "Google Cloud assigned no address"
        if vm is None or vm.has_ended:
            why = f"its instance is {vm.state}" if vm else "its instance is gone"
        failures.append(f"{launched.name} ({launched.resource_name}) did not come up: {why}")
    started = {vm.id for vm in ready}
    await all_vms.delete(vm.id for vm in vms if vm.id not in started)
    if not ready:
        more = f"; and {len(failures) - _SHOWN} more did not" if len(failures) > _SHOWN else ""
        raise StartError("; ".join(failures[:_SHOWN]) + more)
    for failure in failures:
        logger.warning("%s", failure)
    return sorted(ready, key=lambda vm: (len(vm.name), vm.name))


def _is_ready(vm: Vm, *, is_public: bool) -> bool:
    has_addresses = vm.internal_address and (vm.external_address or not is_public)
    return bool(has_addresses) and not vm.has_ended
