"""Launching by one PUT for each VM: Azure has no request for many."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import trio

from bigmachine.cloud import LaunchResult, MachineNames, for_each, poll_intervals

from ..api._errors import AzureError
from ..options import _tags
from ..options._names import vm_name
from ..plan._offers import Offer
from ..resources._vm import Vm
from ..resources._vms import Vms
from ._allocation import CREATE, AcceptedVm, await_allocation
from ._launch_specification import LaunchSpecification
from ._possible_vms import PossibleVms

if TYPE_CHECKING:
    from ..api._api import Api

logger = logging.getLogger("bigmachine.azure")

MAX_COUNT = 200
"""How many VMs are requested before it is known whether Azure has room for any of them.

A caller may send so many writes at once, and ten more a second ("Understand how Azure Resource
Manager throttles requests").
"""

_PARALLEL = 16  # requests at once
_PATIENCE = 15.0  # for the parts of a VM that failed; the rest is deleted at the session's end
_FOUND_SECONDS = 20.0  # after which a VM is found that a request without an answer has created


class CreateVms:
    """A `LaunchMethod` with one offer."""

    max_count = MAX_COUNT

    def __init__(
        self,
        api: Api,
        vms: Vms,
        specification: LaunchSpecification,
        offer: Offer,
        *,
        names: MachineNames,
        possible: PossibleVms,
    ) -> None:
        self.offers = [offer]
        self._api = api
        self._vms = vms
        self._specification = specification
        self._names = names
        self._possible = possible

    async def launch(self, count: int, *, token: str) -> LaunchResult[Offer, Vm]:
        """Launch as many as there are, and return those that run.

        What Azure could not make is deleted first. It can be cancelled at any moment: then all that
        may exist is among the `PossibleVms`, as it is until somebody has the result. Raises
        `AzureError` if it is unknown what has become of the VMs.
        """
        requests = _Requests(self._names.take(count))
        await for_each([requests] * min(count, _PARALLEL), lambda of: self._create_each(of, token))
        self._names.give_back(requests.free_names)
        errors = requests.errors
        try:
            running, failed = await await_allocation(self._api, self._vms, requests.accepted)
        except AzureError as error:
            error.is_outcome_unknown = True  # then `Launch` looks for the VMs
            raise
        errors += [error for _, error in failed]
        await self._delete([vm for vm, _ in failed], token=token)
        return LaunchResult(
            running,
            [(self.offers[0], error) for error in _one_of_each(errors)],
            is_temporary=any(map(_may_succeed_later, errors)),
            is_exhausted=True,
        )

    async def _create_each(self, requests: _Requests, token: str) -> None:
        """Create VMs, one after the other, until no more are to be requested."""
        for name in requests:
            await self._create(requests, name, token)

    async def _create(self, requests: _Requests, name: str, token: str) -> None:
        from azure.core import MatchConditions

        resource_name = vm_name(name.partition(".")[2], name)
        id = self._vms.vm_id(resource_name, group=self._api.resource_group)
        body = self._specification.body(self.offers[0], resource_name, name, token=token)
        self._possible.note_requested(token, id)
        vm, operation = None, None
        is_unknown = False

        def note_unknown() -> None:
            nonlocal is_unknown
            is_unknown = True

        try:
            operation = await self._api.change(
                CREATE,
                vm_name=resource_name,
                parameters=body,
                match_condition=MatchConditions.IfMissing,  # never an update of another one
                note_unknown=note_unknown,
            )
            vm = Vm.from_response(operation.result)
        except trio.Cancelled:
            if not is_unknown:  # it was not sent, or refused
                self._possible.note_gone(token, id)
            raise
        except AzureError as error:
            if error.is_conflict or error.is_outcome_unknown:
                vm = await self._find(id, error)
            is_taken = vm is not None and vm.tags.get(_tags.REQUEST) != token
            if is_taken:
                error.is_outcome_unknown = False  # by another VM, so this request has made none
            if vm is None or is_taken:
                if not error.is_outcome_unknown:
                    self._possible.note_gone(token, id)
                requests.note_refused(
                    name, error, is_free=not (is_taken or error.is_outcome_unknown)
                )
                return
        self._vms.note_new(id)
        self._possible.note_accepted(token, vm)
        requests.accepted.append(AcceptedVm(vm, operation))

    async def _find(self, id: str, error: AzureError) -> Vm | None:
        """Return the VM of a request without an answer, or whose first attempt had none.

        A conflict says that there is one of this name: its tag tells whether it is of this request.
        Azure may take some seconds to find it. If it is not found, the outcome is unknown.
        """
        with trio.move_on_after(_FOUND_SECONDS):
            for delay in poll_intervals():
                try:
                    if vm := await self._vms.describe(id):
                        return vm
                except AzureError as failure:
                    logger.debug("whether there is a VM %s is unknown: %s", id, failure)
                    break
                await trio.sleep(delay)
        error.is_outcome_unknown = True
        return None

    async def _delete(self, vms: Sequence[Vm], *, token: str) -> None:
        """Delete what Azure could not make, with its interface, address and disks.

        Azure may hold the interface for three minutes (bosh-azure-cpi-release issue 366). Others
        don't wait so long, and such a name is not used again. VMs that can't be deleted now stay
        among the `PossibleVms`, so that the session deletes them when it ends.
        """
        ids = [vm.id for vm in vms]
        try:
            await self._vms.delete(ids, at_once=ids, patience=_PATIENCE)
        except AzureError as error:
            logger.warning("VMs that failed may be left until the session ends: %s", error)
            return
        for id in ids:
            self._possible.note_gone(token, id)


class _Requests:
    """The requests of one launch. Iterated, it yields names, until one of them is refused.

    What is refused to one is refused to the others, which are the same but for their names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.accepted: list[AcceptedVm] = []
        self.errors: list[AzureError] = []
        self._names = [*names]

    def __iter__(self) -> Iterator[str]:
        while self._names and not self.errors:
            yield self._names.pop(0)

    def note_refused(self, name: str, error: AzureError, *, is_free: bool) -> None:
        """Take note of an error; ``is_free`` is whether it is certain that no VM has the name."""
        self.errors.append(error)
        if is_free:
            self._names.append(name)

    @property
    def free_names(self) -> Sequence[str]:
        """Those that no VM has, in order."""
        return sorted(self._names, key=lambda name: (len(name), name))


def _one_of_each(errors: Sequence[AzureError]) -> list[AzureError]:
    """Return the first error of each code, and of each whose outcome is unknown."""
    return [*{(error.code, error.is_outcome_unknown): error for error in reversed(errors)}.values()]


def _may_succeed_later(error: AzureError) -> bool:
    """Whether the same request may succeed a little later, with another name.

    What was created a moment ago, such as the network, may not be found yet; nor is an internal
    error of Azure's the offer's fault: "Operation abandoned due to internal error. Please try again
    later." Where `Api` has waited for minutes already, or Azure wants more of them, it may not.
    """
    if error.is_outcome_unknown or error.is_throttled:
        return False
    is_internal = error.is_operation and "internal" in error.code.lower()
    return error.is_temporary or error.is_conflict or error.is_not_found or is_internal
