"""Instances: their documents, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.capacity import pool_of
from tests.support.gcp.catalog import ZONES
from tests.support.gcp.errors import GceError, OperationError, already_exists, not_found
from tests.support.gcp.instance_documents import new_document
from tests.support.gcp.instance_rules import check_instance
from tests.support.gcp.lists import all_scopes, one_page

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

OFF = ("TERMINATED", "STOPPED")
SHUTDOWN_SECONDS = 30  # that a preempted Spot VM has ("Preemption process")


@dataclass
class Vm:
    """An instance; its document is what is answered."""

    zone: str
    document: dict[str, Any]
    console: str = ""
    """What its first serial port has shown."""
    image: str = ""
    """The URL of the image that it boots from."""

    def __post_init__(self) -> None:
        for disk in self.document.get("disks", ())[:1]:
            self.image = str(disk.get("initializeParams", {}).get("sourceImage", ""))

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def status(self) -> str:
        return str(self.document["status"])

    @property
    def region(self) -> str:
        return self.zone.rpartition("-")[0]

    @property
    def path(self) -> str:
        """Its path below the project."""
        return f"zones/{self.zone}/instances/{self.name}"

    @property
    def pool(self) -> str:
        """Where its capacity is from: market, machine type and zone."""
        return pool_of(self.document, self.zone)

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.document.get("labels", {}))

    @property
    def scheduling(self) -> Mapping[str, Any]:
        scheduling: Mapping[str, Any] = self.document["scheduling"]
        return scheduling


@dataclass
class Instances:
    """All instances, by zone and name."""

    gce: Gce
    all: dict[tuple[str, str], Vm] = field(default_factory=dict)
    ended: list[Vm] = field(default_factory=list)
    """Those that have been deleted."""
    preempts_starting: int = 0
    preempts_new: int = 0
    """How many Spot VMs are preempted as soon as they run."""
    """How many more Spot VMs are preempted while they start."""

    # -- for tests ----------------------------------------------------------------------

    def by_name(self, name: str) -> Vm:
        """Return an instance that there is; raises `LookupError` if there is none."""
        return next(vm for vm in [*self.all.values()] if vm.name == name)

    def add(self, zone: str, body: Mapping[str, Any], *, status: str = "RUNNING") -> Vm:
        """Add one as if it had been inserted a while ago."""
        vm = Vm(zone, new_document(self.gce, zone, body))
        self.all[zone, vm.name] = vm
        vm.document["status"] = status
        return vm

    def preempt(self, vm: Vm) -> None:
        """Take a Spot VM back: at once, or as long after its notice as was asked for.

        One that really runs has its shutdown time, as on Google's computers.
        """
        if self.gce.box:
            self.gce.box.tell_preempted(vm)
        kind, text = "compute.instances.preempted", "Instance was preempted."
        notice = float(vm.scheduling.get("preemptionNoticeDuration", {}).get("seconds", 0))
        if self.gce.box:
            notice = notice or SHUTDOWN_SECONDS
        if notice:
            self.gce.timeline.after(notice, lambda: self._end_by_itself(vm, kind, text))
        else:
            self._end_by_itself(vm, kind, text)

    def power_off(self, vm: Vm) -> None:
        """Have its guest power itself off: it is TERMINATED, and its disks stay.

        The action on termination is only for preemption and ``maxRunDuration``, and a stop clears
        the time at which the latter would end it.
        """
        self._stop(vm)
        self.gce.operations.past(
            f"zones/{vm.zone}",
            "compute.instances.guestTerminate",
            vm.path,
            target_id=vm.id,
            statusMessage="Instance was terminated by the guest OS.",
        )

    # -- the API ------------------------------------------------------------------------

    @implements("instances.insert")
    def insert(self, call: Call) -> Any:
        self.gce.places.check_zone(call.zone)
        self.gce.check_reachable(call.zone)
        body = check_instance(self.gce, call.zone, call.body)
        path = f"zones/{call.zone}/instances/{body['name']}"
        if (call.zone, body["name"]) in self.all:
            raise already_exists(f"projects/{call.project}/{path}")
        if (error := self.gce.quotas.error_of(body, call.zone)) and self.gce.quotas.at_once:
            raise GceError(403, "quotaExceeded", error.message, "usageLimits")
        violation = self.gce.policies.violation(body, call.zone)
        if violation and self.gce.policies.at_once:
            raise GceError(412, "conditionNotMet", violation)
        vm = Vm(call.zone, new_document(self.gce, call.zone, body))
        return self.gce.operations.begin(
            call,
            f"zones/{call.zone}",
            "insert",
            path,
            target_id=vm.id,
            start=lambda: self.create(vm),
            finish=lambda: self.run(vm),
        )

    @implements("instances.get")
    def get(self, call: Call) -> Any:
        return self._find(call, kind="got").document

    @implements("instances.list")
    def list(self, call: Call) -> Any:
        self.gce.places.check_zone(call.zone)
        self.gce.check_reachable(call.zone)
        url = self.gce.link(f"zones/{call.zone}/instances")
        return one_page(call, "compute#instanceList", self._in(call.zone), url)

    @implements("instances.aggregatedList")
    def list_all(self, call: Call) -> Any:
        items = {f"zones/{zone}": self._in(zone) for zone in ZONES}
        unreachable = self.gce.unreachable_scopes()
        url = self.gce.link("aggregated/instances")
        kind = "compute#instanceAggregatedList"
        return all_scopes(call, kind, "instances", items, url, unreachable=unreachable)

    @implements("instances.delete")
    def delete(self, call: Call) -> Any:
        vm = self._find(call)
        self._check_ready(vm)
        if vm.document["deletionProtection"]:
            text = f"Resource cannot be deleted if it's protected against deletion. '{vm.path}'"
            raise GceError(400, "resourceInUseByAnotherResource", text)
        return self.gce.operations.begin(
            call,
            f"zones/{vm.zone}",
            "delete",
            vm.path,
            target_id=vm.id,
            start=lambda: self.stop_running(vm),
            is_ready=lambda: self._is_off(vm),
            finish=lambda: self.remove(vm),
        )

    @implements("instances.stop")
    def stop(self, call: Call) -> Any:
        vm = self._find(call)
        return self.gce.operations.begin(
            call,
            f"zones/{vm.zone}",
            "stop",
            vm.path,
            target_id=vm.id,
            start=lambda: self.stop_running(vm),
            is_ready=lambda: self._is_off(vm),
            finish=lambda: self._stop(vm),
        )

    @implements("instances.getSerialPortOutput")
    def serial_port(self, call: Call) -> Any:
        vm = self._find(call)
        if vm.status == "STOPPING" and self.gce.chance.of("a console that is being closed", 0.3):
            # GoogleCloudPlatform/compute-image-tools#456
            raise GceError(503, "backendError", "TIMEOUT")
        # It is empty once the instance has stopped (google/go-tpm-tools#932).
        text = b"" if vm.status in OFF else self.gce.console_of(vm).encode()
        start = min(int(call.start or 0), len(text))
        return {
            "kind": "compute#serialPortOutput",
            "contents": text[start:].decode(errors="replace"),
            "start": str(start),
            "next": str(len(text)),
            "selfLink": self.gce.link(f"{vm.path}/serialPort"),
        }

    # -- what becomes of them -----------------------------------------------------------

    def create(self, vm: Vm) -> None:
        """Make an instance, not yet running; raises `OperationError` if there is no room for it."""
        if (vm.zone, vm.name) in self.all:
            path = f"projects/{self.gce.project}/{vm.path}"
            text = f"The resource '{path}' already exists"
            raise OperationError("RESOURCE_ALREADY_EXISTS", text, 409)
        for rules in (self.gce.policies, self.gce.quotas):
            if error := rules.error_of(vm.document, vm.zone):
                raise error
        self.gce.networks.check_room(vm.document)
        self.gce.capacity.take(vm.document, vm.zone)
        self.all[vm.zone, vm.name] = vm
        for attached in vm.document["disks"]:
            self._make_disk(vm, attached)
        vm.document["status"] = "STAGING"
        for kind in ("got", "listed"):
            self.gce.chance.born(kind, vm.id)

    def run(self, vm: Vm) -> None:
        """Have it run, if it has not been ended meanwhile; raises `OperationError`."""
        if self.all.get((vm.zone, vm.name)) is not vm or vm.status != "STAGING":
            return
        if self.preempts_starting and vm.scheduling["provisioningModel"] == "SPOT":
            # It is left, stopped (scylladb/scylla-cluster-tests#2945).
            self.preempts_starting -= 1
            self._stop(vm)
            text = "Instance failed to start due to preemption."
            raise OperationError("UNSUPPORTED_OPERATION", text, 400)
        vm.document.update(status="RUNNING", lastStartTimestamp=self.gce.timeline.timestamp())
        if self.preempts_new and vm.scheduling["provisioningModel"] == "SPOT":
            self.preempts_new -= 1
            self.preempt(vm)
            return
        if self.gce.box:
            self.gce.box.launch(vm)
        longest = vm.scheduling.get("maxRunDuration", {}).get("seconds")
        if longest:
            started = vm.document["lastStartTimestamp"]
            self.gce.timeline.after(float(longest), lambda: self._expire(vm, started))

    def stop_running(self, vm: Vm) -> None:
        if vm.status not in OFF:
            vm.document["status"] = "STOPPING"
        if self.gce.box:
            self.gce.box.end(vm)

    def remove(self, vm: Vm) -> None:
        """Delete an instance, and the disks that go with it."""
        if self.all.get((vm.zone, vm.name)) is vm:
            del self.all[vm.zone, vm.name]
            vm.document["status"] = "TERMINATED"
            self.ended.append(vm)
            self.gce.disks.detach(vm.document, vm.zone)

    def _is_off(self, vm: Vm) -> bool:
        """Whether nothing runs on it any more."""
        return self.gce.box is None or self.gce.box.is_off(vm)

    def _remove_when_off(self, vm: Vm) -> None:
        if self._is_off(vm):
            self.remove(vm)
        else:
            self.gce.timeline.after(0.05, lambda: self._remove_when_off(vm))

    def _expire(self, vm: Vm, started: str) -> None:
        """End it, because it has run for its ``maxRunDuration`` since it ``started``."""
        is_same_run = vm.document.get("lastStartTimestamp") == started
        if is_same_run and vm.status == "RUNNING":
            text = "Instance was terminated, because it exceeded its max run duration."
            self._end_by_itself(vm, "compute.instances.deferredDelete", text)

    def _end_by_itself(self, vm: Vm, kind: str, message: str) -> None:
        if self.gce.box:
            self.gce.box.end(vm)
        self.gce.operations.past(
            f"zones/{vm.zone}", kind, vm.path, target_id=vm.id, statusMessage=message
        )
        if vm.scheduling.get("instanceTerminationAction") == "DELETE":
            vm.document["status"] = "STOPPING"
            step = self.gce.operations.step_seconds
            self.gce.timeline.after(step, lambda: self._remove_when_off(vm))
        else:
            self._stop(vm)

    def _stop(self, vm: Vm) -> None:
        vm.document.update(status="TERMINATED", lastStopTimestamp=self.gce.timeline.timestamp())
        for nic in vm.document["networkInterfaces"]:
            for access in nic.get("accessConfigs", ()):
                access.pop("natIP", None)  # an ephemeral address is given back

    def _make_disk(self, vm: Vm, attached: dict[str, Any]) -> None:
        given = attached.pop("initializeParams", {})
        if attached["type"] == "SCRATCH":
            return
        zone, name = vm.zone, attached["deviceName"]
        if attached.get("boot"):
            name = vm.name
        name = given.get("diskName") or (name if attached.get("boot") else f"{vm.name}-{name}")
        kind = given["diskType"].rpartition("/")[2]
        fields: dict[str, Any] = {
            "sizeGb": attached["diskSizeGb"],
            "type": self.gce.link(f"zones/{zone}/diskTypes/{kind}"),
            "users": [self.gce.link(vm.path)],
        }
        for key in ("labels", "description", "sourceImage"):
            if key in given:
                fields[key] = given[key]
        disk = self.gce.disks.all.get((zone, name)) or self.gce.disks.add(zone, name, **fields)
        attached["source"] = disk["selfLink"]

    def _in(self, zone: str) -> list[Mapping[str, Any]]:
        found = [vm for (where, _), vm in sorted(self.all.items()) if where == zone]
        return [vm.document for vm in found if not self.gce.chance.hides("listed", vm.id)]

    def _check_ready(self, vm: Vm) -> None:
        """Refuse a change of what is being changed, as Google sometimes does.

        It did so for deletions (google-api-python-client#485, googleapis/google-cloud-java#9312).
        """
        is_changing = vm.status in ("PROVISIONING", "STAGING", "STOPPING")
        if is_changing and self.gce.chance.of("a resource that is not ready", 0.3):
            path = f"projects/{self.gce.project}/{vm.path}"
            raise GceError(400, "resourceNotReady", f"The resource '{path}' is not ready")

    def _find(self, call: Call, *, kind: str = "") -> Vm:
        self.gce.places.check_zone(call.zone)
        self.gce.check_reachable(call.zone)
        for (zone, name), vm in self.all.items():
            if zone == call.zone and call.instance in (name, vm.id):
                if kind and self.gce.chance.hides(kind, vm.id):
                    break
                return vm
        raise not_found(f"projects/{call.project}/zones/{call.zone}/instances/{call.instance}")
