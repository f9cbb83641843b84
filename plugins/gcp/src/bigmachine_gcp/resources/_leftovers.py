"""What sessions have in a project other than instances: disks and firewall rules, and their end.

An instance's disks are deleted with it. They are looked for nevertheless: somebody may have
detached one, or have changed that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import (
    NAME_PREFIX,
    for_each,
    poll_intervals,
    resource_details,
    session_label,
    session_resource_name,
)
from bigmachine.system import Instance

from ..api._errors import GcpError
from ..options import _labels
from ..options._option_formats import last_part, resource_path
from ._vms import NOT_READY

if TYPE_CHECKING:
    from ..api._api import Api
    from ..options._options import GcpOptions

DISK = "disk"
"""The kind of a disk, in the details of an `Instance`."""
RULE = "firewall-rule"
"""The kind of a firewall rule, in the details of an `Instance`."""

IN_USE = ("resourceInUseByAnotherResource", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", *NOT_READY)
"""The codes of errors if a resource can't be deleted yet."""


class Leftovers:
    """The resources of sessions, without instances. All methods raise `GcpError`."""

    def __init__(self, api: Api, options: GcpOptions) -> None:
        self._api = api
        self._options = options

    async def find_reachable_disks(self) -> tuple[list[Instance], list[str]]:
        """List the disks of all sessions; return the zones that Google can't reach now, too."""
        filter = _labels.label_filter(session="*")
        raws, unseen = await self._api.read_reachable("disks.aggregated_list", filter=filter)
        return _of_disks(raws), unseen

    async def find_disks(self, *, session: str = "", zones: Sequence[str] = ()) -> list[Instance]:
        """List the disks of a session, or of all, in these zones, or in all of the project."""
        filter = _labels.label_filter(session=session_label(session) or "*")
        if not zones:
            raws = await self._api.read_all("disks.aggregated_list", filter=filter)
        else:
            raws = []
            for zone in zones:
                raws += await self._api.read_all("disks.list", zone=zone, filter=filter)
        return _of_disks(raws)

    async def find_rules(self, *, session: str = "") -> list[Instance]:
        """List the firewall rules of a session, or of all.

        In a shared network, they are in the project of the network that the options name.
        """
        await self._api.open()
        name = f"{NAME_PREFIX}.*"
        if session:
            name = session_resource_name(session)
        found: list[Instance] = []
        for project in self._projects():
            raws = await self._api.read_all(
                "firewalls.list", project=project, filter=f'name eq "{name}"'
            )
            found += [
                _of_rule(raw, project)
                for raw in raws
                if _labels.session_of(raw.name, raw.description)
            ]
        return found

    def _projects(self) -> list[str]:
        o = self._options
        paths = [resource_path(name).split("/") for name in (o.network, o.subnetwork)]
        hosts = [path[1] for path in paths if path[0] == "projects" and not o.network_tags]
        return [*dict.fromkeys([self._api.project, *hosts])]

    async def free(self, resources: Iterable[Instance]) -> None:
        """Delete what was found; return when all is deleted. What is gone already is fine.

        Google refuses it while an instance uses the resource. This waits for it until it is
        cancelled.
        """
        await for_each(resources, self._free)

    async def find_ours(self, resource: Instance) -> list[Instance]:
        """Return a resource as it is now, if it is a session's; else nothing."""
        if resource.kind == RULE:
            return await self._read_rule(resource)
        zones = [resource.zone] if resource.zone else []
        found = await self.find_disks(session=resource.session, zones=zones)
        return [one for one in found if (one.id, one.zone) == (resource.id, resource.zone)]

    async def _read_rule(self, resource: Instance) -> list[Instance]:
        """Return a firewall rule as it is, if it is a session's: a list may not have it yet."""
        await self._api.open()
        project = resource.details.get("project") or self._api.project
        try:
            raw = await self._api.read("firewalls.get", project=project, firewall=resource.id)
        except GcpError as error:
            if error.is_not_found:
                return []
            raise
        return [_of_rule(raw, project)] if _labels.session_of(raw.name, raw.description) else []

    async def _free(self, resource: Instance) -> None:
        for delay in poll_intervals():
            try:
                if resource.kind == DISK:
                    await self._api.change_and_wait(
                        "disks.delete", zone=resource.zone, disk=resource.id
                    )
                else:
                    await self._api.change_and_wait(
                        "firewalls.delete",
                        project=resource.details["project"],
                        firewall=resource.id,
                    )
                return
            except GcpError as error:
                is_unknown = error.action.endswith(".wait")  # Google has forgotten the operation
                if error.is_not_found and not is_unknown:
                    return
                if not error.is_not_found and not error.reasons & {*IN_USE}:
                    raise
            await trio.sleep(delay)


def users_of(disks: Iterable[Instance], session: str) -> set[str]:
    """Return the session's instances that use these disks: lists may not have them yet.

    Those of others are not among them, whatever somebody has attached to them. Other resources
    have no users.
    """
    prefix = session_resource_name(session) + "-"
    users = {user for disk in disks for user in disk.details.get("users", "").split()}
    return {user for user in users if last_part(user).startswith(prefix)}


def is_leftover(instance: Instance) -> bool:
    """Whether this is a resource of a kind that is listed here."""
    return instance.kind in (DISK, RULE)


def _partial(url: str) -> str:
    """Return a URL from its zone on, as a `Vm` has it for its id."""
    return f"zones/{url.partition('/zones/')[2]}"


def _of_disks(raws: Iterable[Any]) -> list[Instance]:
    return [_of_disk(raw) for raw in raws if _labels.session_of(raw.name, raw.description)]


def _of_disk(raw: Any) -> Instance:
    fields = _labels.parse_description(raw.description)
    return Instance(
        name=f"{DISK}.{fields['session']}",
        address="",
        id=raw.name,
        zone=last_part(raw.zone),
        details=resource_details(
            fields, kind=DISK, state=raw.status, users=" ".join(map(_partial, raw.users))
        ),
    )


def _of_rule(raw: Any, project: str) -> Instance:
    fields = _labels.parse_description(raw.description)
    return Instance(
        name=f"{RULE}.{fields['session']}",
        address="",
        id=raw.name,
        details=resource_details(fields, kind=RULE, project=project),
    )
