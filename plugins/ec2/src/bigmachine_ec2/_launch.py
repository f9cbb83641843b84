"""Launching instances: by one method after the other, in the user's order, until enough run."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Iterator, Sequence

import trio

from bigmachine.cloud import backoff, poll_intervals
from bigmachine.errors import BigmachineError, StartError

from ._advice import explain
from ._api import Api
from ._create_fleet import CreateFleet
from ._errors import AwsError
from ._instance_addresses import await_addresses, report_down
from ._launch_method import LaunchMethod, LaunchResult
from ._launch_specification import LaunchSpecification
from ._launch_templates import LaunchTemplates
from ._offers import Offer, fleet_groups, is_for_fleet
from ._run_instances import RunInstances
from ._scope import Refusals, RuledOut
from ._vms import Vm, Vms

logger = logging.getLogger("bigmachine.ec2")

_ATTEMPTS = 6  # with their delays up to 15 seconds
_LISTED_SECONDS = 20.0  # EC2 lists a new instance after some seconds
_UNDO_TIMEOUT = 150.0  # EC2 takes a minute or so to terminate an instance


class Launch:
    """All launch requests of one ``start``, and their results."""

    def __init__(
        self,
        api: Api,
        vms: Vms,
        specification: LaunchSpecification,
        *,
        offers: Sequence[Offer],
        session: str,
        refusals: Refusals,
    ) -> None:
        self.vms: list[Vm] = []
        """The instances that were launched."""
        self._api = api
        self._region_vms = vms
        self._specification = specification
        self._offers = offers
        self._session = session
        self._unknown: list[str] = []  # tokens of requests whose outcome is unknown
        self._errors: list[tuple[Offer, AwsError]] = []
        self._ruled_out = RuledOut(offers, refusals)
        self._count = 0

    async def machines(
        self, names: Sequence[str], *, is_public: bool, caller_arn: str
    ) -> Sequence[Vm]:
        """Launch an instance for each name, or as many as EC2 has, and wait for their addresses.

        ``is_public`` selects the public or the private address; ``caller_arn`` is the ARN of the
        credentials, for errors. Raises `AwsError`, or the error for the user if there is no
        instance.
        """
        while True:
            await self.run(len(names))
            await self.confirm(caller_arn=caller_arn)
            up, down = await await_addresses(
                self._region_vms, self.vms, names=names, is_public=is_public
            )
            if not self._may_replace(down):
                report_down(up, down)
                return up

    async def run(self, count: int) -> None:
        """Launch ``count`` instances, or as many as EC2 has."""
        self._count = count
        async with LaunchTemplates(
            self._api, self._specification, session=self._session
        ) as templates:
            for method in self._methods(templates):
                if self._ruled_out.covers(method.offers):
                    logger.info("not requested again: %s …", method.offers[0])
                    continue
                errors = await self._launch_by(method, count)
                if len(self.vms) >= count or not self._ruled_out.note(errors):
                    return

    async def confirm(self, *, caller_arn: str) -> None:
        """Terminate what requests without a response launched; fail if nothing else was launched.

        ``caller_arn`` is the ARN of the credentials, for errors. Raises `AwsError`, or the error
        for the user if there is no instance.
        """
        await self._region_vms.terminate(vm.id for vm in await self._find_unknown())
        self._unknown.clear()
        if not self.vms:
            raise self._failure(caller_arn=caller_arn)
        if self._errors:
            what = "fewer machines were launched than requested"
            if len(self.vms) >= self._count:
                what = "not all machines were launched as preferred"
            lines = [self._report(), *self._advice(caller_arn=caller_arn)]
            logger.warning("%s:\n%s", what, "\n".join(lines))

    async def undo(self) -> set[str]:
        """Terminate all that was launched. Bounded and shielded; failures are logged.

        Returns the ids of instances that are not confirmed to be terminated.
        """
        ids = {vm.id for vm in self.vms}
        with trio.move_on_after(_UNDO_TIMEOUT, shield=True) as scope:
            try:
                try:
                    ids |= {vm.id for vm in await self._find_unknown()}
                finally:  # what is known, even if that failed
                    await self._region_vms.terminate(ids)
                return set()
            except Exception:
                logger.exception("instances of a failed start may run until the session ends")
        if scope.cancelled_caught:
            logger.error("instances are not confirmed terminated after %g s", _UNDO_TIMEOUT)
        return ids

    def _methods(self, templates: LaunchTemplates) -> Iterator[LaunchMethod]:
        for offers in fleet_groups(self._offers):
            if is_for_fleet(offers) and not self._ruled_out.fleets:
                yield CreateFleet(self._api, self._specification, offers, templates)
                if not self._ruled_out.fleets:
                    continue
            for offer in offers:
                yield RunInstances(self._api, self._specification, offer)

    def _may_replace(self, down: Sequence[Vm]) -> bool:
        """Whether there are other offers for instances that spot's role could not launch.

        EC2 asks for the key of a disk only while it launches an instance. Then spot is ruled out.
        """
        lost = {vm.id: vm for vm in down if vm.market == "spot" and vm.error.is_of_key}
        if not lost:
            return False
        self.vms = [vm for vm in self.vms if vm.id not in lost]
        errors = [(self._offer(vm), vm.error) for vm in lost.values()]
        self._errors += errors
        self._ruled_out.note(errors)
        return not self._ruled_out.covers(self._offers)

    def _offer(self, vm: Vm) -> Offer:
        """Return the offer that an instance was launched for, or another one on its market."""
        offers = [offer for offer in self._offers if offer.market == vm.market]
        keys = [offer for offer in offers if offer.price_key == vm.price_key]
        return (keys or offers)[0]

    async def _launch_by(
        self, method: LaunchMethod, count: int
    ) -> Sequence[tuple[Offer, AwsError]]:
        """Launch as many as one method has; return its last errors, if that was too few."""
        max_count, delays = method.max_count, backoff(_ATTEMPTS)
        while (wanted := min(max_count, count - len(self.vms))) > 0:
            result = await self._request(method, wanted)
            missing = wanted - len(result.vms)
            if missing <= 0:
                continue
            if result.is_temporary and (delay := next(delays, None)) is not None:
                await trio.sleep(delay)
                continue
            self._errors += result.errors
            for offer, error in result.errors:
                logger.info("%s: %s", offer, error)
            if missing > 1 and any(error.is_quota for _, error in result.errors):
                max_count = missing // 2  # the quota may have room for some
            elif result.errors:
                return result.errors
        return []

    async def _request(self, method: LaunchMethod, wanted: int) -> LaunchResult:
        token = secrets.token_hex(16)
        self._unknown.append(token)
        try:
            result = await method.launch(wanted, token=token)
        except AwsError as error:
            result = LaunchResult((), [(offer, error) for offer in method.offers])
        self._add(result.vms)
        unknown = next((error for _, error in result.errors if error.is_outcome_unknown), None)
        if unknown is None:
            self._unknown.remove(token)
        else:
            more = await self._await_others(token, wanted - len(result.vms), unknown)
            self._add(more)
            result = dataclasses.replace(result, vms=[*result.vms, *more])
        logger.info("%d of %d: %s …", len(result.vms), wanted, method.offers[0])
        return result

    def _add(self, vms: Sequence[Vm]) -> None:
        self.vms += vms
        self._api.note_new(*(vm.id for vm in vms))

    async def _await_others(self, token: str, count: int, error: AwsError) -> Sequence[Vm]:
        """Return up to ``count`` more instances of the request that failed with this error.

        They are looked for before anything else is tried, so that nothing is purchased twice.
        Raises the error if EC2 can't list them: then it is unknown what may still be purchased.
        """
        known, found = {vm.id for vm in self.vms}, None
        with trio.move_on_after(_LISTED_SECONDS):
            for delay in poll_intervals():
                listed = await self._region_vms.find(request=[token])
                found = [vm for vm in listed if vm.id not in known]
                if len(found) >= count:
                    break
                await trio.sleep(delay)
        if found is None:
            raise error
        return found

    async def _find_unknown(self) -> Sequence[Vm]:
        """Return the instances of requests without a response that EC2 has not listed before."""
        found = await self._region_vms.find(request=self._unknown) if self._unknown else ()
        known = {vm.id for vm in self.vms}
        return [vm for vm in found if vm.id not in known]

    def _report(self) -> str:
        """List what failed, and AWS's messages: a line for each kind of error."""
        groups: dict[tuple[str, str, str], list[tuple[Offer, AwsError]]] = {}
        for offer, error in self._errors:
            key = offer.market, offer.instance_type.name, error.code
            groups.setdefault(key, []).append((offer, error))
        return "\n".join(
            f"  {market} {name} in {', '.join(dict.fromkeys(o.subnet.zone for o, _ in group))}: "
            f"{code}: {group[0][1].message}"
            for (market, name, code), group in groups.items()
        )

    def _advice(self, *, caller_arn: str) -> list[str]:
        """List what to do about what is refused to this account or this caller."""
        kinds = {
            error.code: error
            for _, error in self._errors
            if (error.is_forbidden or error.outside_free_plan or error.is_of_key)
            and not error.is_shortage
        }
        return [str(explain(error, caller_arn=caller_arn)) for error in kinds.values()]

    def _failure(self, *, caller_arn: str) -> BigmachineError:
        """Return the error of a start that launched nothing."""
        errors = [error for _, error in self._errors]
        report = (
            f"EC2 launched no instance in {self._api.region}. What was tried, and AWS's "
            f"answers:\n{self._report()}"
        )
        if not errors[-1].is_shortage:
            error = explain(errors[-1], caller_arn=caller_arn)
            is_only_one = {error.code for error in errors} == {errors[-1].code}
            return error if is_only_one else type(error)(f"{error}\n{report}")
        advice = (
            "request a quota increase (Service Quotas, Amazon EC2)"
            if any(error.is_quota for error in errors)
            else "try again later"
        )
        report = "\n".join([report, *self._advice(caller_arn=caller_arn)])
        return StartError(
            f"{report}\nName other types or subnets, allow another market or price, use another "
            f"region, or {advice}."
        )
