"""Instances of all sessions: listed, found by labels, and deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import trio

from bigmachine.cloud import (
    NAME_PREFIX,
    Batch,
    for_each,
    poll_intervals,
    session_label,
)
from bigmachine.system import Instance

from ..api._api import Api
from ..api._errors import GcpError
from ..options import _labels
from ._vm import Vm, name_of, zone_of

logger = logging.getLogger("bigmachine.gcp")

_MAX_NAMES = 500  # asked for at once; the answer to a list has as many on a page
_MAX_TOKENS = 20  # in one filter, whose length limit is not documented
_NEW_SECONDS = 120.0  # a list may not have what is new
_ENDING = ("PENDING_STOP", "STOPPING", "SUSPENDING", "DEPROVISIONING")
NOT_READY = ("resourceNotReady", "RESOURCE_NOT_READY")
"""Codes of errors about a resource that another operation still changes."""


class Vms:
    """The instances of all sessions in a project. Tasks that ask at once share requests."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._zones: dict[str, Batch[Vm]] = {}
        self._noted: dict[str, float] = {}  # ids, and when they were known to exist
        self._urls: dict[str, str] = {}

    def note_new(self, *vms: Vm) -> None:
        """Remember instances that exist since now at the latest: lists may not have them yet."""
        self._noted.update(dict.fromkeys((vm.id for vm in vms), trio.current_time()))

    def is_new(self, id: str) -> bool:
        """Whether the instance was noted so recently that Compute Engine may not find it yet."""
        return trio.current_time() < self._noted.get(id, -float("inf")) + _NEW_SECONDS

    def url(self, id: str) -> str:
        """Return an instance's URL, as Compute Engine last gave it; "" if it never did."""
        return self._urls.get(id, "")

    async def describe(self, id: str) -> Vm | None:
        """Return an instance as it is now; None if there is none. Raises `GcpError`.

        A zone that can't be reached concerns its own instances alone.
        """
        zone = zone_of(id)
        if zone not in self._zones:
            self._zones[zone] = Batch(self._describe_all, max_keys=_MAX_NAMES)
        return await self._zones[zone](id)

    async def find_reachable(self) -> tuple[list[Vm], list[str]]:
        """Return the instances of all sessions, and the zones that Google can't reach now.

        Stopped instances are among them. Raises `GcpError`.
        """
        filter = _labels.label_filter(session="*")
        raws, unseen = await self._api.read_reachable("instances.aggregated_list", filter=filter)
        return [vm for vm in self._parse(raws) if vm.is_ours], unseen

    async def find(
        self, *, session: str = "", tokens: Sequence[str] = (), zones: Sequence[str] = ()
    ) -> list[Vm]:
        """Return the instances of a session, or of all, in these zones, or in all of the project.

        ``tokens`` restricts it to what the requests with these tokens launched. Stopped instances
        are among them. Raises `GcpError`, also if a zone can't be reached: what is there is
        unknown.
        """
        filters = [_labels.label_filter(session=session_label(session) or "*")]
        if tokens:  # of which there is only one each
            starts = range(0, len(tokens), _MAX_TOKENS)
            filters = [_any(_labels.REQUEST, tokens[s : s + _MAX_TOKENS]) for s in starts]
        found: list[Vm] = []
        for filter in filters:
            if zones:
                for zone in dict.fromkeys(zones):
                    found += await self._list(zone, filter)
            else:
                raws = await self._api.read_all("instances.aggregated_list", filter=filter)
                found += self._parse(raws)
        return [vm for vm in found if vm.is_ours]

    async def find_ours(self, instance: Instance) -> str:
        """Return the id of an instance, by its own id or its name; "" unless it is a session's."""
        if instance.id and instance.zone:
            id = f"zones/{instance.zone}/instances/{instance.id}"
            if self.is_new(id):  # it was listed a moment ago, and may not be found again yet
                return id
            vm = await self.describe(id)
            return vm.id if vm is not None and vm.is_ours else ""
        session = instance.name.partition(".")[2]
        if not session and not instance.id:
            return ""
        found = await self.find(session=session)
        return next((vm.id for vm in found if instance.name == vm.name), "") or next(
            (vm.id for vm in found if instance.id and instance.id == vm.resource_name), ""
        )

    async def delete(self, ids: Iterable[str]) -> None:
        """Delete instances; return when all are gone. Raises `GcpError`."""
        await for_each(ids, self._delete)

    async def _delete(self, id: str) -> None:
        """Delete one, and wait until Compute Engine no longer has it.

        It is looked at with all others of its zone: to wait for each operation would take a
        request, and a thread for up to two minutes, of each.
        """
        operation: Any = None
        for delay in poll_intervals():
            if operation is None:
                try:
                    operation = await self._api.change(
                        "instances.delete", zone=zone_of(id), instance=name_of(id)
                    )
                except GcpError as error:
                    if error.is_not_found:
                        if await self.describe(id) is None:
                            return
                    elif error.code not in NOT_READY:
                        raise
            vm = await self.describe(id)
            if vm is None and not self.is_new(id):
                return
            if operation is not None and (vm is None or vm.state not in _ENDING):
                if await self._has_succeeded(operation):
                    return
                operation = None
            await trio.sleep(delay)

    async def _has_succeeded(self, operation: Any) -> bool:
        """Wait for a deletion; whether it succeeded, or may succeed later. Raises `GcpError`.

        One that found nothing to delete has succeeded; of one that Google no longer knows, nothing
        is known.
        """
        try:
            await self._api.wait(operation)
        except GcpError as error:
            if error.is_not_found:
                return error.operation is not None
            if error.code in NOT_READY:
                return False
            raise
        return True

    async def _describe_all(self, ids: Sequence[str]) -> dict[str, Vm]:
        """Describe instances of one zone: one by a look at it, many by a list of their sessions."""
        zone = zone_of(ids[0])
        if len(ids) == 1:
            try:
                raw = await self._api.read("instances.get", zone=zone, instance=name_of(ids[0]))
            except GcpError as error:
                if error.is_not_found:
                    return {}
                raise
            return {vm.id: vm for vm in self._parse([raw])}
        sessions = dict.fromkeys(_session_label(name_of(id)) for id in ids)
        found = await self._list(zone, _any(_labels.SESSION, [*sessions]))
        return {vm.id: vm for vm in found}

    async def _list(self, zone: str, filter: str) -> list[Vm]:
        return self._parse(await self._api.read_all("instances.list", zone=zone, filter=filter))

    def _parse(self, raws: Iterable[Any]) -> list[Vm]:
        found = [Vm.from_response(raw) for raw in raws]
        self._urls.update((vm.id, vm.url) for vm in found)
        self.note_new(*(vm for vm in found if vm.is_ours))  # later requests may not find them
        return found


def _session_label(name: str) -> str:
    """Return the label of the session that an instance's name begins with."""
    return name.removeprefix(NAME_PREFIX).rpartition("-")[0]


def _any(label: str, values: Sequence[str]) -> str:
    return " OR ".join(f'(labels.{label} = "{value}")' for value in values)
