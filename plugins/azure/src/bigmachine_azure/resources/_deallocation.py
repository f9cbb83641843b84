"""When Azure deallocates a VM whose machine can't delete it, if the driver is dead for a day.

Azure has no time limit for a VM. It has auto-shutdown: a schedule that deallocates a VM each day at
a given time ("Auto-shutdown a VM"; DevTestLab is its provider, and a session need not use that).
While the driver lives, it moves that time away.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import trio

from bigmachine.cloud import for_each

from ..api._errors import AzureError
from ..api._resource_ids import ResourceId

if TYPE_CHECKING:
    from ..api._api import Api
    from ._vm import Vm

logger = logging.getLogger("bigmachine.azure")

_VERSION = "2018-09-15"
_DAY = 86_400.0
_MARGIN = 600.0  # for clocks, and for the minutes after a machine's lifetime
_FORGET_SECONDS = 20.0
_RENEW_SECONDS = _DAY / 4  # so that a computer may sleep for a night


class Deallocation:
    """The schedules of one driver's VMs. Failures are logged: a session works without them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._vms: dict[str, Vm] = {}
        self._renewal: trio.CancelScope | None = None

    async def schedule(self, vms: Iterable[Vm], *, lifetime: float | None) -> None:
        """Have Azure deallocate new VMs after their ``lifetime`` in seconds, at most after a day.

        What lives longer than a day is renewed until `close`. When cancelled, no VM has one.
        """
        new = {vm.id: vm for vm in vms}
        seconds = min(_DAY if lifetime is None else lifetime + 2 * _MARGIN, _DAY) - _MARGIN
        self._vms.update(new)
        try:
            await self._put(new, seconds)
        except BaseException:  # a group of cancellations
            with trio.move_on_after(_FORGET_SECONDS, shield=True):
                await self.forget(new)
            raise
        if seconds == _DAY - _MARGIN and self._renewal is None and self._vms:
            self._renewal = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._renew, self._renewal)

    async def forget(self, ids: Iterable[str]) -> None:
        """Delete the schedules of VMs that are gone. They would do nothing, and cost nothing."""
        ids = set(ids)
        for id in ids:
            self._vms.pop(id, None)

        async def delete(id: str) -> None:
            try:
                await self._api.request("DELETE", _schedule_id(id), api_version=_VERSION)
            except AzureError as error:
                logger.debug("the schedule of %s is left: %s", id, error)

        await for_each(ids, delete)

    def close(self) -> None:
        """Renew no schedule any more."""
        if self._renewal is not None:
            self._renewal.cancel()
        self._renewal = None
        self._vms.clear()

    async def _renew(self, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                await trio.sleep(_RENEW_SECONDS)
                await self._put(dict(self._vms), _DAY - _MARGIN)

    async def _put(self, vms: Mapping[str, Vm], seconds: float) -> None:
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
        errors = list[AzureError]()

        async def put(id: str) -> None:
            body = {
                "location": vms[id].location,
                "tags": dict(vms[id].tags),
                "properties": {
                    "status": "Enabled",
                    "taskType": "ComputeVmShutdownTask",
                    "dailyRecurrence": {"time": at.strftime("%H%M")},
                    "timeZoneId": "UTC",
                    "targetResourceId": id,
                },
            }
            try:
                await self._api.request("PUT", _schedule_id(id), api_version=_VERSION, body=body)
            except AzureError as error:
                if not error.is_not_found:  # its VM has just been deleted
                    errors.append(error)

        await for_each([*vms], put)
        if errors:
            logger.warning(
                "Azure will not deallocate %d VMs if this driver dies, so that they cost money "
                "until somebody deletes them: %s",
                len(errors),
                errors[0],
            )
        elif vms:
            when = at.strftime("%d %b %H:%M UTC")
            logger.info("if this driver dies, Azure deallocates its VMs on %s", when)


def _schedule_id(vm: str) -> str:
    """Return the ID of a VM's schedule, whose name Azure prescribes."""
    id = ResourceId.parse(vm)
    group = f"/subscriptions/{id.subscription}/resourceGroups/{id.group}"
    return f"{group}/providers/Microsoft.DevTestLab/schedules/shutdown-computevm-{id.name}"
