"""Buying instances: by one way after the other, in the user's order, until there are enough."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence

import trio

from bigmachine.errors import BigmachineError, StartError

from ._advice import explain
from ._api import Api
from ._errors import AwsError
from ._fleet import Fleet, Templates
from ._machines import Machines, Vm
from ._offers import Offer, by_fleet, is_for_fleet
from ._order import Bought, Order, Way
from ._pace import pauses
from ._run import Run

logger = logging.getLogger("bigmachine.ec2")

USER_DATA_LIMIT = 16384  # bytes before base64, by "Run commands when you launch an EC2 instance"
_TRIES = 6  # with their pauses up to 15 seconds
_UNDO_TIMEOUT = 150.0  # EC2 takes a minute or so to terminate an instance


class Launch:
    """The purchases of one ``start``: what was tried, what came of it."""

    def __init__(
        self,
        api: Api,
        machines: Machines,
        order: Order,
        *,
        offers: Sequence[Offer],
        session: str,
    ) -> None:
        self.vms: list[Vm] = []
        """The instances that were made."""
        self._api = api
        self._machines = machines
        self._order = order
        self._offers = offers
        self._session = session
        self._unknown: list[str] = []  # tokens of requests of which nobody knows what became
        self._story: list[tuple[Offer, AwsError]] = []

    async def buy(self, count: int) -> None:
        """Buy so many instances, or as many as can be had."""
        closed: set[str] = set()
        async with Templates(self._api, self._order, session=self._session) as templates:
            for way in self._ways(templates):
                market = way.offers[0].market
                if market in closed:
                    continue
                refusals = await self._exhaust(way, count)
                if len(self.vms) >= count:
                    return
                if all(error.is_quota for error in refusals):
                    closed.add(market)
                elif not any(error.is_capacity or error.is_quota for error in refusals):
                    return  # no other offer would mend that

    async def confirm(self, *, who: str) -> None:
        """Free what was made by requests that had no answer; fail if that was all.

        ``who`` is the ARN of the credentials, for errors; which are `AwsError`, or say why
        there is nothing.
        """
        await self._machines.free(vm.id for vm in await self._made_unknown())
        self._unknown.clear()
        if not self.vms:
            raise self._failure(who=who)
        if story := self._told():
            logger.warning("not all machines were to be had:\n%s", story)

    async def undo(self) -> None:
        """Free all that was made. Bounded and shielded, and logs what it can't do."""
        with trio.move_on_after(_UNDO_TIMEOUT, shield=True) as scope:
            try:
                made = await self._made_unknown()
                await self._machines.free({vm.id for vm in (*self.vms, *made)})
            except Exception:
                logger.exception("instances of a start that failed may run until the session ends")
        if scope.cancelled_caught:
            logger.error("instances are not confirmed to be gone after %g s", _UNDO_TIMEOUT)

    def _ways(self, templates: Templates) -> Iterator[Way]:
        for offers in by_fleet(self._offers):
            if is_for_fleet(offers):
                yield Fleet(self._api, self._order, offers, templates)
            else:
                yield Run(self._api, self._order, offers[0])

    async def _exhaust(self, way: Way, count: int) -> list[AwsError]:
        """Buy by one way as much as it has; return its last refusals, if that was too little."""
        most, rests = way.most, pauses(_TRIES)
        while (wanted := min(most, count - len(self.vms))) > 0:
            bought = await self._purchase(way, wanted)
            errors = [error for _, error in bought.refusals]
            left = wanted - len(bought.vms)
            if left <= 0:
                continue
            if bought.is_passing and (pause := next(rests, None)) is not None:
                await trio.sleep(pause)
                continue
            self._story += bought.refusals
            for offer, error in bought.refusals:
                logger.info("%s: %s", offer, error)
            if left > 1 and any(error.is_quota for error in errors):
                most = left // 2  # the quota may have room for some
            elif errors:
                return errors
        return []

    async def _purchase(self, way: Way, wanted: int) -> Bought:
        request = secrets.token_hex(16)
        self._unknown.append(request)
        try:
            bought = await way.buy(wanted, request=request)
        except AwsError as error:
            if not error.is_unknown:
                self._unknown.remove(request)
            refusals = [(offer, error) for offer in way.offers]
            return Bought((), refusals, is_passing=error.is_unknown_template)
        self._unknown.remove(request)
        self.vms += bought.vms
        for vm in bought.vms:
            self._machines.note(vm.id)
        logger.info("%d of %d: %s …", len(bought.vms), wanted, way.offers[0])
        return bought

    async def _made_unknown(self) -> Sequence[Vm]:
        return await self._machines.find(request=self._unknown) if self._unknown else ()

    def _told(self) -> str:
        """Tell what was tried in vain, and what AWS said, a line for each kind of refusal."""
        refusals: dict[tuple[str, str, str], list[tuple[Offer, AwsError]]] = {}
        for offer, error in self._story:
            refusals.setdefault((offer.market, offer.kind.name, error.code), []).append(
                (offer, error)
            )
        return "\n".join(
            f"  {market} {kind} in {', '.join(dict.fromkeys(o.subnet.zone for o, _ in those))}: "
            f"{code}: {those[0][1].message}"
            for (market, kind, code), those in refusals.items()
        )

    def _failure(self, *, who: str) -> BigmachineError:
        """Return the error of a start that got nothing."""
        errors = [error for _, error in self._story]
        told = (
            f"EC2 has no machine for us in {self._api.region}. What was tried, and what AWS "
            f"answered:\n{self._told()}"
        )
        if not (errors[-1].is_capacity or errors[-1].is_quota):
            why = explain(errors[-1], who=who)
            is_all = {error.code for error in errors} == {errors[-1].code}
            return why if is_all else type(why)(f"{why}\n{told}")
        advice = (
            "have the quota raised (Service Quotas, Amazon EC2)"
            if any(error.is_quota for error in errors)
            else "try again later"
        )
        return StartError(
            f"{told}\nName other types or subnets, allow another market or price, use another "
            f"region, or {advice}."
        )
