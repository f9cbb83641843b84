"""Launching by ``bulkInsert``: up to a thousand instances in one request."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import LaunchResult, MachineNames, vm_name
from bigmachine.errors import StopReason

from ..api._error_parsing import error_of_operation
from ..api._errors import GcpError, preemption_error
from ..api._transport import method_id
from ..options._option_formats import last_part
from ..plan._offers import Offer
from ..resources._bulk_operations import await_launched, created_by, request_id, unfinished_error
from ..resources._terminations import Terminations
from ..resources._vm import Vm
from ..resources._vms import Vms
from ._launch_specification import LaunchSpecification

if TYPE_CHECKING:
    from ..api._api import Api

logger = logging.getLogger("bigmachine.gcp")

MAX_COUNT = 1000
"""How many instances one request asks for; 5,000 are allowed ("About bulk creation of VMs")."""

_OPERATION_TIMEOUT = 300.0  # an operation that takes longer has an unknown outcome
_CAUSES_TIMEOUT = 20.0
_DELETION_TIMEOUT = 60.0  # about as long as one takes; what is left then is labelled


class BulkInsert:
    """A `LaunchMethod` with one offer, by a zonal request."""

    max_count = MAX_COUNT
    is_regional = False

    def __init__(
        self,
        api: Api,
        vms: Vms,
        specification: LaunchSpecification,
        offers: Sequence[Offer],
        names: MachineNames,
        terminations: Terminations,
    ) -> None:
        self.offers = offers
        self.failed: set[Offer] = set()
        """The offers that its requests have failed for."""
        self._api = api
        self._vms = vms
        self._specification = specification
        self._names = names
        self._terminations = terminations

    async def launch(self, count: int, *, token: str) -> LaunchResult[Offer, Vm]:
        """Launch as many as there are.

        If it is cancelled, its operation may go on, and what it launches is found by ``token``.
        """
        taken = self._names.take(count)
        machines = {vm_name(name.partition(".")[2], name): name for name in taken}
        try:
            operation = await self._insert([*machines], token=token)
        except GcpError as error:
            if error.is_outcome_unknown:
                raise
            self._names.give_back(machines.values())
            # Google checks capacity and quotas first ("Troubleshooting bulk VM creation").
            failed = self._offers_of(error)
            self.failed.update(failed)
            return LaunchResult((), [(offer, error) for offer in failed])
        return await self._result(operation, machines, token=token)

    @property
    def _method(self) -> str:
        return "region_instances.bulk_insert" if self.is_regional else "instances.bulk_insert"

    @property
    def _zones(self) -> list[str]:
        return [*dict.fromkeys(offer.zone for offer in self.offers)]

    async def _insert(self, names: Sequence[str], *, token: str) -> Any:
        """Return the operation of a request, when it is done: with errors, perhaps."""
        zone = self.offers[0].zone
        place = {"region": zone.rpartition("-")[0]} if self.is_regional else {"zone": zone}
        body = self._specification.bulk_insert(
            self.offers, names, token=token, is_regional=self.is_regional
        )
        operation = await self._api.change(
            self._method,
            request_id=request_id(token),
            bulk_insert_instance_resource_resource=body,
            **place,
        )
        with trio.move_on_after(_OPERATION_TIMEOUT):
            try:
                return await self._api.wait(operation)
            except GcpError as error:
                if error.operation is not None:  # it has ended, with errors
                    return error.operation
                error.is_outcome_unknown = True
                raise
        raise unfinished_error(_OPERATION_TIMEOUT)

    async def _result(
        self, operation: Any, machines: Mapping[str, str], *, token: str
    ) -> LaunchResult[Offer, Vm]:
        """Return what an operation that has ended has launched, and why it was no more.

        ``machines`` are the names that were sent, by instance.
        """
        count, created = len(machines), created_by(operation)
        errors = await self._errors(operation, missing=count - sum(created.values()))
        with trio.CancelScope(shield=True):  # once they are known, nothing may forget them
            vms = await await_launched(self._vms, [token], created) if created else ()
        if len(vms) < sum(created.values()):
            lost = await self._preempted(operation, vms, zones=created)
            errors += lost
            if (
                unseen := sum(created.values()) - len(vms) - len(lost)
            ):  # then `Launch` looks for more
                errors.append((self.offers[0], _unseen(unseen)))
        elif len(vms) < count and not errors:
            unexplained = GcpError(method_id(self._method), "UNEXPLAINED", "no reason was given")
            errors = [(offer, unexplained) for offer in self.offers]
        self.failed.update(offer for offer, _ in errors)
        if not any(_may_leave_instance(error) for _, error in errors):
            launched = {vm.resource_name for vm in vms}
            self._names.give_back(
                name for instance, name in machines.items() if instance not in launched
            )
        return LaunchResult(vms, errors, is_temporary=any(e.is_temporary for _, e in errors))

    async def _errors(self, operation: Any, *, missing: int) -> list[tuple[Offer, GcpError]]:
        """Return why instances are missing: for each offer, one error of each kind.

        The operation's own error may only say that there are too few; those of the operations
        that it began, one for each instance, say why.
        """
        if missing <= 0:
            return []
        own = error_of_operation(method_id(self._method), operation)
        errors: dict[tuple[Offer, str], GcpError] = {}
        children: dict[str, list[Any]] = {}
        preempted: list[Any] = []
        with trio.move_on_after(_CAUSES_TIMEOUT):
            for zone in self._zones:
                children[zone] = await self._children(operation, zone)
        for zone, of_zone in children.items():
            for child in of_zone:
                error = error_of_operation("compute.instances.insert", child)
                if error is None:
                    continue
                for offer in self._offers_of(error, zone=zone):
                    errors.setdefault((offer, error.code), error)
                if error.is_preemption:
                    preempted.append(child)
        await self._delete_preempted(preempted)
        found = [(offer, error) for (offer, _), error in errors.items()]
        if not found and own is not None:
            found = [(offer, error) for error in own.errors for offer in self._offers_of(error)]
        return found

    async def _preempted(
        self, operation: Any, vms: Sequence[Vm], *, zones: Iterable[str]
    ) -> list[tuple[Offer, GcpError]]:
        """Return an error for each created instance that was preempted before it was listed."""
        known = {vm.url for vm in vms}
        lost: list[Any] = []
        with trio.move_on_after(_CAUSES_TIMEOUT):
            for zone in zones:
                for child in await self._children(operation, zone):
                    url = child.target_link
                    if url not in known and not child.error.errors:
                        why = await self._terminations.explain(
                            _id_of(url), None, url=url, is_new=True
                        )
                        if why is not None and why.reason is StopReason.INTERRUPTED:
                            lost.append(child)
        await self._delete_preempted(lost)
        error = preemption_error("the spot instance was preempted as soon as it ran")
        return [(self._offers_of(error, zone=last_part(child.zone))[0], error) for child in lost]

    async def _delete_preempted(self, children: Iterable[Any]) -> None:
        """Delete the instances that were preempted while they started.

        Google may leave them with their disks, stopped.
        """
        ids = [_id_of(child.target_link) for child in children]
        with trio.move_on_after(_DELETION_TIMEOUT):
            try:
                await self._vms.delete(ids)
            except GcpError as error:
                logger.warning("preempted instances may be left until the session ends: %s", error)

    async def _children(self, operation: Any, zone: str) -> list[Any]:
        """List the operations that an operation began in a zone; none if Google refuses that."""
        group = operation.operation_group_id
        if not group:
            return []
        filter = f'(operationType = "insert") (operationGroupId = "{group}")'
        try:
            found = await self._api.read_all("zone_operations.list", zone=zone, filter=filter)
        except GcpError as error:
            logger.warning("why instances are missing in %s is unknown: %s", zone, error)
            return []
        return [child for child in found if child.operation_group_id == group]

    def _offers_of(self, error: GcpError, *, zone: str = "") -> list[Offer]:
        """Return the offers that an error is about: its details may name zone and type."""
        zone = zone or last_part(error.metadata.get("zone", ""))
        type_name = last_part(error.metadata.get("vmType", ""))
        series = _series_of_quota(error) if error.is_quota else ()
        in_zone = [offer for offer in self.offers if zone in ("", offer.zone)]
        of_type = [
            offer
            for offer in in_zone
            if offer.type_name == type_name or offer.machine_type.series in series
        ]
        return of_type or in_zone or [*self.offers]


class RegionalBulkInsert(BulkInsert):
    """A `LaunchMethod` with many offers: Compute Engine chooses types and zones among them."""

    is_regional = True


def _series_of_quota(error: GcpError) -> Sequence[str]:
    """Return the machine series that a used-up quota of vCPUs is about; none for any other."""
    family = error.quota.dimensions.get("vm_family", "") if error.quota else ""
    if family:  # CPUS_PER_VM_FAMILY
        return [family.lower()]
    found = re.search(r"Quota '(?:PREEMPTIBLE_)?(?:([A-Z0-9]+)_)?CPUS' exceeded", error.message)
    if found is None:
        return []
    return [found[1].lower()] if found[1] else ["e2", "n1"]


def _id_of(url: str) -> str:
    """Return an instance's id as a `Vm` has it."""
    return f"zones/{url.partition('/zones/')[2]}"


def _may_leave_instance(error: GcpError) -> bool:
    """Whether an instance may exist that was not launched, so that its name is not free."""
    return error.is_outcome_unknown or error.is_conflict or error.is_preemption


def _unseen(count: int) -> GcpError:
    error = GcpError(
        "compute.instances.list",
        "NOT_LISTED",
        f"{count} of the launched instances are not listed yet",
    )
    error.is_outcome_unknown = True
    return error
