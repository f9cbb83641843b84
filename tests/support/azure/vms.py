"""The requests about virtual machines, and their answers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.support.azure import vm_documents
from tests.support.azure.calls import GROUP, Answer, Call, Handler, Route
from tests.support.azure.errors import ArmError, not_found
from tests.support.azure.names import check_name
from tests.support.azure.resources import Document, new_etag
from tests.support.azure.vm import Vm
from tests.support.azure.vm_lives import VmLives
from tests.support.azure.vm_rules import check_change, check_identities, check_vm

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm


class VirtualMachines(VmLives):
    """All VMs, as requests make, find and delete them."""

    def __init__(self, arm: Arm) -> None:
        super().__init__(arm)
        self.status_only_is_bare = arm.chance.of("a bare list of states", 0.5)
        """Whether ``statusOnly`` answers states and little else. What it answers is not
        documented; clients that others have published join it with the usual list, or don't."""

    # -- routes -------------------------------------------------------------------------

    def routes(self) -> Iterator[tuple[Route, Handler]]:
        yield from super().routes()
        one = f"{GROUP}/providers/{self.type}/{{name}}"
        name, model = self.operations, self.model
        view = "compute.VirtualMachineInstanceView"
        console = "compute.RetrieveBootDiagnosticsDataResult"
        update = "compute.VirtualMachineUpdate"
        yield Route(f"{name}.update", "PATCH", one, update, model), self.update
        yield Route(f"{name}.instance_view", "GET", f"{one}/instanceView", "", view), self.view_of
        for method, action, query, handler in (
            ("power_off", "powerOff", ("skipShutdown",), self.stop),
            ("deallocate", "deallocate", ("hibernate", "forceDeallocate"), self.deallocate_one),
            ("start", "start", (), self.start),
            ("simulate_eviction", "simulateEviction", (), self.simulate_eviction),
        ):
            yield Route(f"{name}.{method}", "POST", f"{one}/{action}", "", "", query), handler
        yield (
            Route(
                f"{name}.retrieve_boot_diagnostics_data",
                "POST",
                f"{one}/retrieveBootDiagnosticsData",
                "",
                console,
                ("sasUriExpirationTimeInMinutes",),
            ),
            self.console,
        )

    def query(self, verb: str) -> tuple[str, ...]:
        if verb == "DELETE":
            return ("forceDeletion",)
        return ("$expand", "$filter", "statusOnly") if verb == "GET" else ()

    # -- the API ------------------------------------------------------------------------

    def put(self, call: Call) -> Any:
        self.arm.groups.require_open(call.group)
        if old := self.all.get(call.path.lower()):
            check_change(call, old)
            old.document["tags"] = dict(call.body.get("tags", {}))
            return Answer(200, self.view(old.document))
        new: Document = {
            **copy.deepcopy(dict(call.body)),
            "id": self.arm.id_of(call),
            "name": call.name,
            "type": self.type,
        }
        check_name(self.type, call.name)
        new["location"] = self.arm.places.check_resource(self.type, new, None, call.group)
        new.setdefault("properties", {})
        size, source = check_vm(self.arm, new)
        self.parts.check(new)
        check_identities(self.arm, new)
        self.arm.quotas.check_vm(new)
        self.arm.capacity.check(new)
        vm_documents.complete(self.arm, new, size, source)
        new["properties"]["provisioningState"] = "Creating"
        new["etag"] = new_etag()
        vm = Vm(new, size, source, copy.deepcopy(dict(call.body)))
        self.all[vm.id.lower()] = vm
        self.arm.resources.add(new)
        for kind in ("a new VM", "a new VM in lists"):
            self.arm.chance.born(kind, vm.id.lower())
        self.arm.timeline.after(self.arm.operations.seconds, lambda: self._create(vm))
        return self.arm.operations.begin(
            call,
            201,
            self.view(new),
            location=new["location"],
            is_ready=lambda: vm.is_settled,
            finish=lambda: self._finish(vm),
        )

    def update(self, call: Call) -> Any:
        vm = self._find(call)
        if "tags" in call.body:
            vm.document["tags"] = dict(call.body["tags"])
        return self.view(vm.document)

    def get(self, call: Call) -> Any:
        vm = self._find(call)
        document = copy.deepcopy(vm.document)
        expand = call.query.get("$expand", "").lower()
        if expand == "instanceview":
            document["properties"]["instanceView"] = self._instance_view(vm)
        if expand == "userdata":
            document["properties"]["userData"] = vm.sent["properties"].get("userData", "")
        return document

    def view_of(self, call: Call) -> Any:
        return self._instance_view(self._find(call))

    def list(self, call: Call) -> Any:
        if call.group:
            self.arm.groups.require(call.group)
        is_status = call.query.get("statusOnly", "").lower() == "true"
        if call.query.get("$expand") and not call.query.get("$filter"):
            # As several clients on GitHub say beside their requests.
            text = "$expand is supported only with a $filter of a virtual machine scale set."
            raise ArmError(400, "InvalidParameter", text, "$expand")
        found = self.arm.resources.of_type(self.type, group=call.group)
        found = [of for of in found if not self._hides("a new VM in lists", of)]
        found += self.parts.listed(call.group)
        documents = [self._with_state(of) for of in found] if is_status else found
        return self.arm.page(call, documents)

    def delete(self, call: Call) -> Any:
        self.arm.groups.require(call.group)
        vm = self.all.get(call.path.lower())
        if vm is None:
            return Answer(204)  # there is none, as was wanted
        is_forced = call.query.get("forceDeletion", "").lower() == "true"
        if vm.state != "Deleting":  # else the deletion goes on
            self.arm.operations.preempt(vm.id)
        vm.document["properties"]["provisioningState"] = "Deleting"
        self._end_host(vm)
        return self.arm.operations.begin(
            call,
            202,
            location=vm.document["location"],
            is_ready=lambda: self._is_off(vm),
            finish=lambda: self._remove(vm, call.user, is_forced=is_forced),
        )

    def stop(self, call: Call) -> Any:
        vm = self._find(call)
        self._end_host(vm)
        return self._begin(call, vm, lambda: self._power(vm, "stopped"))

    def deallocate_one(self, call: Call) -> Any:
        vm = self._find(call)
        self._end_host(vm)
        return self._begin(call, vm, lambda: self.deallocate(vm))

    def start(self, call: Call) -> Any:
        vm = self._find(call)
        self.arm.capacity.take(vm.document)
        return self._begin(call, vm, lambda: self._run(vm))

    def simulate_eviction(self, call: Call) -> Any:
        vm = self._find(call)
        if not vm.is_spot:
            text = f"Simulate eviction is supported only for Spot VMs: '{vm.name}' is none."
            raise ArmError(409, "OperationNotAllowed", text)
        self.evict(vm.name)
        return Answer(204)

    def console(self, call: Call) -> Any:
        vm = self._find(call)
        diagnostics = vm.document["properties"].get("diagnosticsProfile", {})
        if not diagnostics.get("bootDiagnostics", {}).get("enabled"):
            text = f"The boot diagnostics of the VM '{vm.name}' are not enabled."
            raise ArmError(409, "OperationNotAllowed", text)
        return self.arm.blobs.links_of(vm)

    def console_of(self, vm: Vm) -> str:
        """Return what the first serial port of a VM has shown."""
        return self.arm.box.console(vm) if self.arm.box else vm.console

    # -- answers ------------------------------------------------------------------------

    def _with_state(self, document: Document) -> Document:
        vm = self.all.get(document["id"].lower())
        view = vm_documents.bare(document) if self.status_only_is_bare else self.view(document)
        if vm:
            view["properties"]["instanceView"] = self._instance_view(vm)
        return view

    def _instance_view(self, vm: Vm) -> dict[str, Any]:
        power = vm.power
        if self.arm.chance.of("a power state that Azure does not know", 0.05):
            power = ""
        return vm_documents.instance_view(
            vm.document,
            power=power,
            failure=vm.failure,
            generation=vm.source.generation,
            now=self.arm.timeline.timestamp(),
        )

    def _begin(self, call: Call, vm: Vm, finish: Any) -> Answer:
        return self.arm.operations.begin(
            call,
            202,
            location=vm.document["location"],
            target=vm.id,
            is_ready=lambda: self._is_off(vm) or call.path.lower().endswith("/start"),
            finish=finish,
        )

    def _find(self, call: Call) -> Vm:
        self.arm.groups.require(call.group)
        id = "/".join(call.path.split("/")[:9]).lower()
        vm = self.all.get(id)
        if vm is None or self._hides("a new VM", vm.document):
            raise not_found(self.type, call.name, call.group)
        return vm

    def _hides(self, kind: str, document: Document) -> bool:
        return self.arm.chance.hides(kind, document["id"].lower())
