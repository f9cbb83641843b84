"""What AWS bills for machines beyond the prices that are known: told when a session opens."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..resources._network import Network
from ._offers import Offer

logger = logging.getLogger("bigmachine.ec2")


def warn_of_surcharges(offers: Sequence[Offer], *, network: Network) -> None:
    """Log a warning for each kind of surcharge that machines of these offers may have."""
    if network.is_dedicated:
        # Users noticed it on their bills after days (hashicorp/terraform issue 24101).
        logger.warning(
            "the tenancy of %s is dedicated: machines cost more there, and AWS bills $2 an hour "
            "for the region in addition; bigmachine doesn't know these prices. Name subnets of "
            "another VPC unless you need hardware of your own",
            network.vpc,
        )
    for image in dict.fromkeys(offer.image for offer in offers):
        if image.is_sold:
            logger.warning(
                "image: %s (%s) is a product of AWS Marketplace: if its software has a price, AWS "
                "bills it in addition, and bigmachine doesn't know it",
                image.id,
                image.name,
            )
    types = dict.fromkeys(offer.instance_type for offer in offers)
    if burstable := [each.name for each in types if each.is_burstable]:
        # "The instance is billed for the additional usage at a flat additional rate per vCPU-hour"
        # ("Unlimited mode for burstable performance instances"); the rate is from "EC2 On-Demand
        # Pricing".
        logger.warning(
            "instance_type: %s: AWS bills about $0.05 in addition for each hour of a vCPU beyond "
            "the type's baseline, and bigmachine doesn't count it; for long computations, name a "
            "type without CPU credits, like m7i.large or c7i.large",
            ", ".join(burstable),
        )
