"""What every way to launch instances has in common, and what a launch returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..errors._cloud_error import CloudError
from ._offer import Offer


class LaunchedVm(Protocol):
    """An instance, as a backend describes it. Its ``id`` is unique among a session's instances."""

    @property
    def id(self) -> str: ...


OfferT_co = TypeVar("OfferT_co", bound=Offer, covariant=True)
VmT_co = TypeVar("VmT_co", bound=LaunchedVm, covariant=True)


class LaunchMethod(Protocol[OfferT_co, VmT_co]):
    """Launches instances of any of ``offers``, all of one market, up to ``max_count`` at once."""

    @property
    def offers(self) -> Sequence[OfferT_co]: ...

    @property
    def max_count(self) -> int: ...

    async def launch(self, count: int, *, token: str) -> LaunchResult[OfferT_co, VmT_co]:
        """Launch up to ``count`` instances.

        ``token``, 32 hexadecimal digits, makes the request idempotent; the new instances are
        tagged with it. No checkpoint follows once there are instances. Requests that are throttled
        are repeated in here.

        Raises the provider's `CloudError` if nothing was launched, or, if its outcome is unknown,
        perhaps something.
        """
        ...


@dataclass(frozen=True, slots=True)
class LaunchResult(Generic[OfferT_co, VmT_co]):
    """The instances that one request launched, and the error for each offer that failed."""

    vms: Sequence[VmT_co]
    errors: Sequence[tuple[OfferT_co, CloudError]] = ()
    is_temporary: bool = False
    """Whether the same request may succeed a little later."""
    is_exhausted: bool = False
    """Whether a request for fewer would fail alike: each instance was requested on its own."""
