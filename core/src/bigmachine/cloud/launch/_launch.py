"""Launching instances: by one method after the other, in the user's order, until enough run."""

from __future__ import annotations

import abc
import dataclasses
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import ClassVar, Generic, TypeVar, cast

import trio

from ...errors import BigmachineError, StartError
from ..errors._cloud_error import CloudError
from ..requests._backoff import backoff, poll_intervals
from ..requests._batch import for_each
from ._launch_method import LaunchedVm, LaunchMethod, LaunchResult
from ._offer import Offer
from ._scope import Refusals, RuledOut, Scope

OfferT = TypeVar("OfferT", bound=Offer)
VmT = TypeVar("VmT", bound=LaunchedVm)
ErrorT = TypeVar("ErrorT", bound=CloudError)

_ATTEMPTS = 6  # with their delays up to 15 seconds
_LISTED_SECONDS = 20.0  # a provider lists a new instance after some seconds
_UNDO_TIMEOUT = 150.0  # a provider takes a minute or so to terminate an instance


class Launch(abc.ABC, Generic[OfferT, VmT, ErrorT]):
    """All launch requests of one `System.start`, and their results. A base class.

    A backend's subclass yields its ways to launch in `methods`, and says what its provider's
    errors mean: ``ErrorT`` is what its methods raise and return. A start is ``run``, then
    ``confirm``; if anything fails until the machines are handed over, it is ``undo``.

    Nothing is purchased twice: before anything else is tried, instances of a request whose
    outcome is unknown are looked for.
    """

    system: ClassVar[str]
    """The system's name, like ``"ec2"``: messages are logged to ``bigmachine.ec2``."""
    provider: ClassVar[str]
    """Whose instances these are, for messages: ``"EC2"``."""
    alternatives: ClassVar[str] = (
        "Name other types or zones, allow another market or price, use another region"
    )
    """What to do if there are no instances, for messages."""
    quota_advice: ClassVar[str] = "request a quota increase"
    """What else to do if that is because of quotas."""

    def __init__(
        self,
        *,
        place: str,
        offers: Sequence[OfferT] = (),
        refusals: Refusals | None = None,
    ) -> None:
        """``place`` is where they are launched, for messages: ``"us-east-1"``.

        A session's launches share its ``refusals``: those of ``offers`` are not requested again.
        """
        self.logger = logging.getLogger(f"bigmachine.{self.system}")
        self.vms: list[VmT] = []
        """The instances that were launched."""
        self.offers: Sequence[OfferT] = offers
        """What may be launched, in the user's order."""
        self.ruled_out: RuledOut = RuledOut(offers, refusals)
        """What errors have ruled out so far."""
        self._place = place
        self._unknown: list[str] = []  # tokens of requests whose outcome is unknown
        self._errors: list[tuple[OfferT, ErrorT]] = []
        self._count = 0

    # -- what a backend overrides ---------------------------------------------------------

    @abc.abstractmethod
    def methods(self) -> Iterator[LaunchMethod[OfferT, VmT]]:
        """Yield the ways to launch, in the user's order.

        The next one is requested when all before have launched too few: `ruled_out` says by then
        what their errors have ruled out. A method whose offers are all ruled out is not tried,
        nor is one without offers.
        """

    @abc.abstractmethod
    def scope_of(self, error: ErrorT, offer: OfferT) -> Scope:
        """Return what an error rules out that a launch of this offer had.

        It is ``Scope.ALL`` for an unknown outcome, unless another purchase is worth the risk that
        both succeed: then the one whose answer was lost is terminated.
        """

    @abc.abstractmethod
    def explain(self, error: ErrorT) -> BigmachineError:
        """Return the error for the user, which tells what to do."""

    @abc.abstractmethod
    async def find(self, tokens: Sequence[str]) -> Sequence[VmT]:
        """Return the live instances that the requests with these tokens launched.

        Raises the provider's `CloudError`.
        """

    @abc.abstractmethod
    async def terminate(self, vms: Sequence[VmT]) -> None:
        """Terminate instances; return when all are. Raises the provider's `CloudError`."""

    def needs_advice(self, error: ErrorT) -> bool:
        """Whether the user is told what to do about an error, also if others have succeeded."""
        return error.is_forbidden and not error.is_shortage

    # -- what a system calls --------------------------------------------------------------

    async def run(self, count: int) -> None:
        """Launch ``count`` instances, or as many as the provider has."""
        self._count = count
        for method in self.methods():
            if self.ruled_out.covers(method.offers):
                for offer in method.offers[:1]:
                    self.logger.info("not requested again: %s …", offer)
                continue
            errors = await self._launch_by(method, count)
            if len(self.vms) >= count or not self._note(errors, method=type(method)):
                return

    async def confirm(self) -> None:
        """Terminate what requests without a response launched; fail if nothing else was launched.

        Raises the provider's `CloudError`, or the error for the user if there is no instance.
        """
        await self.terminate(await self._find_unknown())
        self._unknown.clear()
        if not self.vms:
            raise self._failure()
        if self._errors:
            what = "fewer machines were launched than requested"
            if len(self.vms) >= self._count:
                what = "not all machines were launched as preferred"
            self.logger.warning("%s:\n%s", what, "\n".join([self._report(), *self._advice()]))

    def note_lost(self, lost: Sequence[tuple[VmT, OfferT, ErrorT]]) -> bool:
        """Take note of instances that were launched and have ended before they came up.

        They are no longer among ``vms``. Each comes with its offer, and why it ended as an error.
        Returns whether another ``run``, and ``confirm``, may launch others in their place.
        """
        ids = {vm.id for vm, _, _ in lost}
        self.vms = [vm for vm in self.vms if vm.id not in ids]
        errors = [(offer, error) for _, offer, error in lost]
        self._errors += errors
        is_hopeful = self._note(errors, method=type(None))
        self.ruled_out.note_lost((offer, self.scope_of(error, offer)) for offer, error in errors)
        return bool(lost) and is_hopeful and not self.ruled_out.covers(self.offers)

    async def undo(self) -> Sequence[VmT]:
        """Terminate all that was launched. Bounded and shielded; failures are logged.

        Returns the instances that are not confirmed to be terminated.
        """
        left: list[VmT] = []

        async def terminate(find: Callable[[], Awaitable[Sequence[VmT]]]) -> None:
            vms = await find()
            left.extend(vms)
            await self.terminate(vms)
            left[:] = [vm for vm in left if vm not in vms]

        with trio.move_on_after(_UNDO_TIMEOUT, shield=True) as scope:
            try:
                await for_each((self._known, self._find_unknown), terminate)
            except Exception:
                self.logger.exception("instances of a failed start may run until the session ends")
        if scope.cancelled_caught:
            self.logger.error("instances are not confirmed terminated after %g s", _UNDO_TIMEOUT)
        return left

    # -- steps ----------------------------------------------------------------------------

    async def _known(self) -> Sequence[VmT]:
        await trio.lowlevel.checkpoint()
        return self.vms

    def _note(self, errors: Sequence[tuple[OfferT, ErrorT]], *, method: type) -> bool:
        failed = [(offer, error, self.scope_of(error, offer)) for offer, error in errors]
        return self.ruled_out.note(failed, method=method)

    async def _launch_by(
        self, method: LaunchMethod[OfferT, VmT], count: int
    ) -> Sequence[tuple[OfferT, ErrorT]]:
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
            # Not only CloudError: a method's errors are those of its provider.
            errors = cast("Sequence[tuple[OfferT, ErrorT]]", result.errors)
            self._errors += errors
            for offer, error in errors:
                self.logger.info("%s: %s", offer, error)
            has_quota = not result.is_exhausted and any(error.is_quota for _, error in errors)
            if missing > 1 and has_quota:
                max_count = missing // 2  # the quota may have room for some
            elif errors or not result.vms:
                return errors
        return []

    async def _request(
        self, method: LaunchMethod[OfferT, VmT], wanted: int
    ) -> LaunchResult[OfferT, VmT]:
        token = secrets.token_hex(16)
        self._unknown.append(token)
        try:
            result = await method.launch(wanted, token=token)
        except CloudError as error:
            result = LaunchResult((), [(offer, error) for offer in method.offers])
        self.vms += result.vms
        unknown = next((error for _, error in result.errors if error.is_outcome_unknown), None)
        if unknown is None:
            self._unknown.remove(token)
        else:
            more = await self._await_others(token, wanted - len(result.vms), unknown)
            self.vms += more
            result = dataclasses.replace(result, vms=[*result.vms, *more])
        self.logger.info("%d of %d: %s …", len(result.vms), wanted, method.offers[0])
        return result

    async def _await_others(self, token: str, count: int, error: CloudError) -> Sequence[VmT]:
        """Return up to ``count`` more instances of the request that failed with this error.

        They are looked for before anything else is tried, so that nothing is purchased twice.
        Raises the error if they can't be listed: then it is unknown what may still be purchased.
        """
        found = None
        with trio.move_on_after(_LISTED_SECONDS):
            for delay in poll_intervals():
                found = self._others(await self.find([token]))
                if len(found) >= count:
                    break
                await trio.sleep(delay)
        if found is None:
            raise error
        return found

    async def _find_unknown(self) -> Sequence[VmT]:
        """Return the instances of requests without a response that were not listed before."""
        return self._others(await self.find(self._unknown)) if self._unknown else []

    def _others(self, found: Sequence[VmT]) -> list[VmT]:
        known = {vm.id for vm in self.vms}
        return [vm for vm in found if vm.id not in known]

    # -- messages -------------------------------------------------------------------------

    def _report(self) -> str:
        """List what failed, and the provider's messages: a line for each kind of error."""
        groups: dict[tuple[str, str, str], list[tuple[OfferT, ErrorT]]] = {}
        for offer, error in self._errors:
            key = offer.market, offer.type_name, error.code
            groups.setdefault(key, []).append((offer, error))
        return "\n".join(
            f"  {market} {name}{_in_zones([offer for offer, _ in group])}: "
            f"{code}: {group[0][1].message}"
            for (market, name, code), group in groups.items()
        )

    def _advice(self) -> list[str]:
        """List what to do about what is refused to this account or this caller."""
        kinds = {error.code: error for _, error in self._errors if self.needs_advice(error)}
        return [str(self.explain(error)) for error in kinds.values()]

    def _failure(self) -> BigmachineError:
        """Return the error of a start that launched nothing."""
        errors = [error for _, error in self._errors]
        report = (
            f"{self.provider} launched no instance in {self._place}. What was tried, and the "
            f"answers:\n{self._report()}"
        )
        if errors and not errors[-1].is_shortage:
            error = self.explain(errors[-1])
            is_only_one = {error.code for error in errors} == {errors[-1].code}
            return error if is_only_one else type(error)(f"{error}\n{report}")
        has_quota = any(error.is_quota for error in errors)
        advice = self.quota_advice if has_quota else "try again later"
        report = "\n".join([report, *self._advice()])
        return StartError(f"{report}\n{self.alternatives}, or {advice}.")


def _in_zones(offers: Collection[Offer]) -> str:
    zones = [*dict.fromkeys(offer.zone for offer in offers if offer.zone)]
    return f" in {', '.join(zones)}" if zones else ""
