"""Machines that can't delete their VMs: what that would cost, and whether the user allows it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bigmachine.errors import StartError

from ._identity import setup_command

if TYPE_CHECKING:
    from ..api._place import Place
    from ..catalog._prices import Prices
    from ..options._options import AzureOptions
    from ._offers import Offer

logger = logging.getLogger("bigmachine.azure")


def check_billing_leak(
    o: AzureOptions, place: Place, prices: Prices, offers: Sequence[Offer], *, identity: str
) -> None:
    """Check that machines can delete their VMs, with an ``identity``.

    Without one, raises `StartError`; or warns of what a dead driver would cost, if the options
    allow that.
    """
    if identity:
        return
    setup = setup_command(o, place)
    risk = (
        f"without a managed identity, a machine whose driver is dead can only power its VM off, "
        f"which Azure bills like one that runs: {_cost(prices, offers)} until it is deleted"
    )
    if not o.allow_billing_leak:
        raise StartError(
            f"{risk}. Run `{setup}` once, which creates an identity, or have an owner of the "
            f"resource group run it; or pass allow_billing_leak=True"
        )
    logger.warning("%s, as by `bigmachine reap azure`. `%s` creates an identity", risk, setup)


def _cost(prices: Prices, offers: Sequence[Offer]) -> str:
    known = [price for offer in offers if (price := prices.per_hour(offer)) is not None]
    if not known:
        return "its price is unknown, and must be paid"
    return f"each costs up to ${max(known):.3g} an hour"
