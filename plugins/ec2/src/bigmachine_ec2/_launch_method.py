"""What every way to launch instances has in common, and what a launch returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ._errors import AwsError
from ._offers import Offer
from ._vms import Vm

MAX_COUNT = 500
"""How many instances one request asks for.

EC2 grants 1,000 at once ("Request throttling for the Amazon EC2 API").
"""


class LaunchMethod(Protocol):
    """Launches instances of any of ``offers``, all of one market, up to ``max_count`` at once."""

    @property
    def offers(self) -> Sequence[Offer]: ...

    @property
    def max_count(self) -> int: ...

    async def launch(self, count: int, *, token: str) -> LaunchResult:
        """Launch up to ``count`` instances.

        ``token`` makes the request idempotent; the new instances are tagged with it. No
        checkpoint follows once there are instances.

        Raises `AwsError` if nothing was launched, or, if its outcome is unknown, perhaps something.
        """
        ...


@dataclass(frozen=True, slots=True)
class LaunchResult:
    """The instances that one request launched, and the error for each offer that failed."""

    vms: Sequence[Vm]
    errors: Sequence[tuple[Offer, AwsError]] = ()
    is_temporary: bool = False
    """Whether the same request may succeed a little later."""
