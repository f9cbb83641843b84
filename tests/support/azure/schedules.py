"""Schedules that deallocate VMs ("Auto-shutdown for VMs"): Microsoft.DevTestLab/schedules."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import Answer, Call
from tests.support.azure.errors import ArmError
from tests.support.azure.resources import Document, ResourceType, new_etag

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm


class Schedules(ResourceType):
    """All schedules: each deallocates its VM at a time of each day, as long as it is enabled."""

    operations = "global_schedules"
    type = "Microsoft.DevTestLab/schedules"
    model = "schedules.Schedule"
    list_in_group = "list_by_resource_group"
    list_everywhere = "list_by_subscription"

    def __init__(self, arm: Arm) -> None:
        super().__init__(arm)
        self.fired: list[str] = []
        """Names of VMs that schedules have deallocated."""

    def query(self, verb: str) -> tuple[str, ...]:
        return ("$expand", "$filter", "$top", "$orderby") if verb == "GET" else ()

    def put(self, call: Call) -> Any:
        """Make one, or change it: at once, without an operation."""
        self.arm.groups.require_open(call.group)
        old = self.arm.resources.find(call.path)
        location = self.arm.places.check_resource(self.type, call.body, old, call.group)
        properties = {**call.body.get("properties", {})}
        vm = self._check(call, properties, location)
        document: Document = {
            **call.body,
            "id": self.arm.id_of(call),
            "name": call.name,
            "type": self.type.lower(),  # as it is answered (terraform-provider-azurerm#4135)
            "location": location,
        }
        document["properties"] = {
            "createdDate": self.arm.timeline.timestamp(),
            **properties,
            "provisioningState": "Succeeded",
            "uniqueIdentifier": self.arm.new_guid(),
        }
        document["etag"] = new_etag()
        self.arm.resources.add(document)
        self._wait(document, vm)
        return Answer(200 if old else 201, self.view(document))

    def delete(self, call: Call) -> Any:
        self.arm.groups.require(call.group)
        known = self.arm.resources.find(call.path)
        self.arm.resources.remove(call.path)
        return Answer(200 if known else 204)

    def view(self, document: Document) -> Document:
        """Return one without its etag, which its model does not have."""
        return {key: value for key, value in document.items() if key != "etag"}

    def _check(self, call: Call, properties: dict[str, Any], location: str) -> str:
        """Return the id of the VM that it is for; raises `ArmError`."""
        target = properties.get("targetResourceId", "")
        vm = self.arm.vms.all.get(target.lower())
        if vm is None:
            text = f"The target resource '{target}' was not found."
            raise ArmError(404, "ResourceNotFound", text)
        if call.name.lower() != f"shutdown-computevm-{vm.name}".lower():
            # Azure/terraform-azurerm-avm-res-compute-virtualmachine#422
            text = (
                "Schedule name is invalid. It must be 'shutdown-computevm-' and the name of the VM."
            )
            raise ArmError(400, "InvalidScheduleName", text)
        if vm.document["location"] != location:
            text = "The schedule and its target must be in the same location."
            raise ArmError(400, "InvalidScheduleLocation", text)
        if properties.get("taskType") != "ComputeVmShutdownTask":
            text = f"The task type '{properties.get('taskType')}' is invalid."
            raise ArmError(400, "InvalidScheduleTaskType", text)
        time = properties.get("dailyRecurrence", {}).get("time", "")
        if not re.fullmatch(r"([01]\d|2[0-3])[0-5]\d", time):
            raise ArmError(400, "InvalidScheduleTime", f"The time '{time}' is invalid.")
        if properties.get("timeZoneId") != "UTC":  # others there are, but not here
            text = f"The time zone '{properties.get('timeZoneId')}' is invalid."
            raise ArmError(400, "InvalidTimeZoneId", text)
        return vm.id

    def _wait(self, document: Document, vm: str) -> None:
        """Have it deallocate its VM when it is time, each day that there is one."""
        time = document["properties"]["dailyRecurrence"]["time"]
        now = datetime.fromtimestamp(self.arm.timeline.now(), UTC)
        then = now.replace(hour=int(time[:2]), minute=int(time[2:]), second=0, microsecond=0)
        if then <= now:
            then += timedelta(days=1)

        def fire() -> None:
            if self.arm.resources.find(document["id"]) is not document:
                return  # changed or deleted
            found = self.arm.vms.all.get(vm.lower())
            if found is None:
                return  # it outlives its VM, and does nothing
            if document["properties"].get("status") == "Enabled":
                self.arm.vms.deallocate(found)
                self.fired.append(found.name)
            self._wait(document, vm)

        self.arm.timeline.after((then - now).total_seconds(), fire)
