"""Virtual machines, and what becomes of them.

One that its guest powers off is *stopped*, and billed as if it ran; only `deallocate` and deletion
end that ("States and billing status of Azure Virtual Machines").
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from tests.support.azure.entra import DRIVER, Principal
from tests.support.azure.errors import ArmError
from tests.support.azure.resources import Document, ResourceType
from tests.support.azure.vm import Vm
from tests.support.azure.vm_parts import VmParts

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

EVICTION_SECONDS = 30.0  # that an evicted VM has ("Scheduled Events": Preempt)
PROVISIONING_SECONDS = 20 * 60.0
"""How long Azure waits for a guest to report that it is ready ("Provisioning errors": 20 to 40)."""


class VmLives(ResourceType):
    """All VMs: they are made, run, stop, are evicted and go, with what is theirs."""

    operations = "virtual_machines"
    type = "Microsoft.Compute/virtualMachines"
    model = "compute.VirtualMachine"

    def __init__(self, arm: Arm) -> None:
        super().__init__(arm)
        self.all: dict[str, Vm] = {}
        """By id in lower case."""
        self.ended: list[Vm] = []
        """Those that have been deleted."""
        self.has_spot = True
        """Whether the subscription may have spot VMs; free trials and some others may not."""
        self.unready: set[str] = set()
        """Names of VMs whose guests never report that they are ready."""
        self.evicts_starting = 0
        """How many more spot VMs are evicted while they start."""
        self.parts = VmParts(arm)

    # -- for tests ----------------------------------------------------------------------

    def by_name(self, name: str) -> Vm:
        """Return a VM that there is; raises `LookupError` if there is none."""
        for vm in self.all.values():
            if vm.name.lower() == name.lower():
                return vm
        raise LookupError(f"there is no VM {name}, but {[vm.name for vm in self.all.values()]}")

    def power_off(self, name: str) -> None:
        """Have the guest of a VM power itself off: it is stopped, and billed."""
        self._power(self.by_name(name), "stopped")

    def went_off(self, vm: Vm) -> None:
        """See that the host of a VM is off, which nobody may have asked for."""
        if vm.power == "running":
            self._power(vm, "stopped")

    def deallocate(self, vm: Vm) -> None:
        """Take a VM's host from it: only its disks and its address are billed."""
        self._end_host(vm)
        self._power(vm, "deallocated")

    def evict(self, name: str) -> None:
        """Take a spot VM back; one that really runs has its notice."""
        vm = self.by_name(name)
        if self.arm.box:
            self.arm.box.tell_evicted(vm)
            self.arm.timeline.after(EVICTION_SECONDS, lambda: self._evict(vm))
        else:
            self._evict(vm)

    # -- what becomes of them -----------------------------------------------------------

    def _create(self, vm: Vm) -> None:
        """Make all that a VM has; what is made before something fails stays."""
        if vm.state != "Creating":
            return
        sent = vm.sent["properties"]["networkProfile"]
        try:
            self.parts.make_nics(vm.document, sent)
            self.arm.policies.check_nics(vm.document)
            self.arm.images.check_plan(vm.document, vm.source)
            self.arm.capacity.take(vm.document)
        except ArmError as error:
            vm.failure = error
            vm.is_settled = True
            if self.arm.chance.of("a disk of a VM that failed", 0.3):
                self.parts.make_disks(vm.document)
            return
        self.parts.make_disks(vm.document)
        if self.evicts_starting and vm.is_spot:
            self.evicts_starting -= 1
            self._power(vm, "deallocated")
            text = "The Spot VM was evicted while it was being created."
            vm.failure = ArmError(409, "OperationPreempted", text)
            vm.is_settled = True
            return
        self._run(vm)

    def _run(self, vm: Vm) -> None:
        self._power(vm, "running")
        if self.arm.box:
            self.arm.box.launch(vm)
        if vm.name in self.unready:
            self.arm.timeline.after(PROVISIONING_SECONDS, lambda: self._time_out(vm))
        else:
            self._settle_when_ready(vm)

    def _settle_when_ready(self, vm: Vm) -> None:
        """Have its operation end once its guest has reported that it is ready."""
        if vm.state == "Creating" and self.arm.box and not self.arm.box.is_ready(vm):
            self.arm.timeline.after(0.05, lambda: self._settle_when_ready(vm))
        else:
            vm.is_settled = True

    def _time_out(self, vm: Vm) -> None:
        """See that its guest has not reported: the VM stays, and is billed."""
        if vm.state == "Creating":
            text = (
                f"OS Provisioning for VM '{vm.name}' did not finish in the allotted time. The VM "
                "may still finish provisioning successfully. Please check provisioning state later."
            )
            vm.failure = ArmError(409, "OSProvisioningTimedOut", text)
            vm.is_settled = True

    def _finish(self, vm: Vm) -> Document:
        """End the operation that made a VM; raises `ArmError` if it has failed."""
        vm.document["properties"]["provisioningState"] = "Failed" if vm.failure else "Succeeded"
        if vm.failure:
            raise vm.failure
        return self.view(vm.document)

    def _remove(self, vm: Vm, user: Principal = DRIVER, *, is_forced: bool = False) -> None:
        """Delete a VM, and what goes with it."""
        if self.all.pop(vm.id.lower(), None) is None:
            return
        self.arm.meter.accrue()
        self.ended.append(vm)
        self.arm.resources.remove(vm.id)
        has_failed = vm.failure is not None
        self.parts.leave(vm.document, user, is_forced=is_forced, has_failed=has_failed)

    def removed(self, document: Document) -> None:
        """See that one is gone with its resource group."""
        if vm := self.all.get(document["id"].lower()):
            self._end_host(vm)
            self._remove(vm)

    def _evict(self, vm: Vm) -> None:
        if vm.id.lower() not in self.all:
            return
        self._end_host(vm)
        if vm.document["properties"].get("evictionPolicy", "Deallocate") == "Delete":
            vm.document["properties"]["provisioningState"] = "Deleting"
            self._remove_when_off(vm)
        else:
            self._power(vm, "deallocated")

    def _remove_when_off(self, vm: Vm) -> None:
        if self._is_off(vm):
            self._remove(vm)
        else:
            self.arm.timeline.after(0.05, lambda: self._remove_when_off(vm))

    def _power(self, vm: Vm, state: str) -> None:
        self.arm.meter.accrue()
        vm.power = state
        vm.history.append(state)

    def _end_host(self, vm: Vm) -> None:
        if self.arm.box:
            self.arm.box.end(vm)

    def _is_off(self, vm: Vm) -> bool:
        """Whether nothing runs on it any more."""
        return self.arm.box is None or bool(self.arm.box.is_off(vm))

    def view(self, document: Document) -> Document:
        """Return a VM without its instance view."""
        properties = {**document["properties"]}
        properties.pop("instanceView", None)
        return copy.deepcopy({**document, "properties": properties})
