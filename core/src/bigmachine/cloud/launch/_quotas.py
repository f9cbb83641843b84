"""Quotas of an account that count what there is now: what machines lack of them."""

from __future__ import annotations

import abc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from ...errors import StartError
from ._offer import Offer

OfferT = TypeVar("OfferT", bound=Offer)


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota: how much there may be, and how much there is now.

    ``name`` is the provider's, for people, and ``place`` where it holds.
    """

    name: str
    limit: float
    usage: float
    place: str

    @property
    def room(self) -> float:
        """How much is left."""
        return self.limit - self.usage

    def __str__(self) -> str:
        return (
            f"{self.name} in {self.place} are needed, and the limit is {self.limit:g} "
            f"({self.usage:g} in use)"
        )


class Quotas(abc.ABC, Generic[OfferT]):
    """The quotas that a session's machines count against, as they were when they were read.

    A base class: a backend says what one machine ``needs``.
    """

    system: ClassVar[str]
    """The system's name, like ``"gcp"``: messages are logged to ``bigmachine.gcp``."""
    account: ClassVar[str]
    """Whose quotas these are, for messages: ``"project"``."""
    increased_at: ClassVar[str]
    """Where to request an increase, for messages."""
    alternatives: ClassVar[str]
    """What else to use if they do not allow a single machine: ``"other types or regions"``."""

    def __init__(self, quotas: Mapping[str, Quota]) -> None:
        """``quotas`` are by the names that `needs` uses; what is not among them is unknown."""
        self.quotas = quotas
        """Those that are known."""
        self._logger = logging.getLogger(f"bigmachine.{self.system}")

    @abc.abstractmethod
    def needs(self, offer: OfferT) -> Mapping[str, float]:
        """Return how much of each quota one machine needs, also of those that are not known."""

    def check(self, offers: Sequence[OfferT]) -> list[OfferT]:
        """Return the offers of which the quotas allow at least one machine.

        Raises `StartError` if there are none. A warning is logged if there are some, but other
        resources use the quota up just now.
        """
        possible = [o for o in offers if not self._lacking([o], lambda quota: quota.limit)]
        if not possible:
            names = ", ".join(dict.fromkeys(offer.type_name for offer in offers))
            lacking = self._lacking(offers, lambda quota: quota.limit)
            raise StartError(
                f"this {self.account}'s quota does not allow a single {names}: {lacking}. Request "
                f"an increase ({self.increased_at}), or use {self.alternatives}"
            )
        if lacking := self._lacking(possible, lambda quota: quota.room):
            self._logger.warning(
                "other resources use this %s's quota up just now: %s", self.account, lacking
            )
        return possible

    def warn(self, offers: Sequence[OfferT], *, count: int) -> None:
        """Log a warning if there was no room for so many machines of any offer."""
        if lacking := self._lacking(offers, lambda quota: quota.room, count=count):
            self._logger.warning(
                "%d machines are more than the quota may allow: %s", count, lacking
            )

    def _lacking(
        self, offers: Sequence[OfferT], available: Callable[[Quota], float], *, count: int = 1
    ) -> str:
        """Return what so many machines of each offer lack; "" if one offer lacks nothing."""
        listed: dict[str, None] = {}
        for offer in offers:
            short = [
                f"{count * amount:g} of {quota}"
                for name, amount in self.needs(offer).items()
                if (quota := self.quotas.get(name)) and available(quota) < count * amount
            ]
            if not short:
                return ""
            listed |= dict.fromkeys(short)
        return "; ".join(listed)
