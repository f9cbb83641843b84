"""What becomes of VMs that Azure has accepted: whether it finds room for them, it tells later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from bigmachine.cloud import for_each, poll_intervals

from ..api._errors import AzureError
from ..api._operations import Operation
from ..resources._vm import Vm
from ..resources._vms import Vms

if TYPE_CHECKING:
    from ..api._api import Api

logger = logging.getLogger("bigmachine.azure")

CREATE = "virtual_machines.create_or_update"
_TIMEOUT = 600.0  # Azure itself gives up after some minutes, with AllocationFailed
_REASON_TIMEOUT = 20.0
# "The resource operation completed with terminal provisioning state 'Failed'." (azure-cli 2401)
_WRAPPERS = ("resourceoperationfailure", "resourcedeploymentfailure")


@dataclass(frozen=True, slots=True)
class AcceptedVm:
    """A VM that Azure makes. ``operation`` is None if the answer to its request was lost."""

    vm: Vm
    operation: Operation | None


async def await_allocation(
    api: Api, vms: Vms, accepted: Sequence[AcceptedVm]
) -> tuple[list[Vm], list[tuple[Vm, AzureError]]]:
    """Wait until Azure runs VMs, or has failed to make them: ten minutes at most.

    Returns those that run, and the others with the errors that tell why not; these must be deleted.
    They are looked at all together. That a VM runs is enough: its creation ends later, when its
    operating system has told Azure that it is up. Raises `AzureError`.
    """
    latest: dict[str, Vm | None] = {each.vm.id: each.vm for each in accepted}

    async def await_one(each: AcceptedVm) -> None:
        id = each.vm.id
        for delay in poll_intervals():
            await trio.sleep(delay)
            is_new = vms.is_new(id)
            found = await vms.describe(id)
            if found is None and is_new:
                continue
            latest[id] = found
            if found is None or _runs(found) or _has_failed(found):
                return

    with trio.move_on_after(_TIMEOUT):
        await for_each(accepted, await_one)
    failed: list[tuple[Vm, AzureError]] = []

    async def note_failed(each: AcceptedVm) -> None:
        failed.append((each.vm, await _reason(api, each, latest[each.vm.id])))

    running = [vm for vm in latest.values() if vm is not None and _runs(vm)]
    ids = {vm.id for vm in running}
    await for_each([each for each in accepted if each.vm.id not in ids], note_failed)
    return running, failed


def _runs(vm: Vm) -> bool:
    """Whether it has got its host. A power state may be missing where the creation has ended."""
    is_up = vm.power_state == "running" or vm.provisioning_state.lower() == "succeeded"
    return is_up and not vm.has_ended


def _has_failed(vm: Vm) -> bool:
    return vm.has_ended or vm.provisioning_state.lower() in ("failed", "canceled")


async def _reason(api: Api, accepted: AcceptedVm, vm: Vm | None) -> AzureError:
    """Return why a VM does not run: by its operation, its instance view, or what is seen of it."""
    if vm is None or vm.has_ended:
        what = "Evicted" if accepted.vm.market == "spot" else "Ended"
        state = "it is gone" if vm is None else f"it is {vm.state}"
        return _error(what, f"the VM ended while it started: {state}")
    if not _has_failed(vm):
        return _error("Unfinished", f"Azure has not started the VM within {_TIMEOUT:g} s")
    if accepted.operation is not None:
        with trio.move_on_after(_REASON_TIMEOUT):
            try:
                await api.wait(accepted.operation)
            except AzureError as error:
                if error.is_operation:
                    return _cause(error)
                logger.debug("%s: why it failed is asked otherwise: %s", vm.name, error)
    code, message = vm.failure
    return _error(code or "Failed", message or "Azure could not make the VM, and gives no reason")


def _cause(error: AzureError) -> AzureError:
    """Return what an error is about that only wraps another one."""
    while error.code.lower() in _WRAPPERS and len(error.details) == 1:
        error = error.details[0]
    return error


def _error(code: str, message: str) -> AzureError:
    return AzureError(CREATE, code, message, is_operation=True)
