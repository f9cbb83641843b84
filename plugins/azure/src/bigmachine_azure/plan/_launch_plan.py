"""What `setup` checks with Azure before anything is created: all that the options name exists."""

from __future__ import annotations

from dataclasses import dataclass

from bigmachine.cloud import Parallel
from bigmachine.errors import UsageError
from bigmachine.system import driver_addresses

from ..api._api import Api
from ..api._place import Place, find_place
from ..catalog._disk_types import disk_type
from ..catalog._images import find_images
from ..catalog._skus import read_skus
from ..catalog._vm_sizes import VmSize, misfit
from ..options._options import AzureOptions
from ..resources._network import Network, find_network, find_security_group
from ..resources._subnet_rules import check_subnet_rules
from ._identity import find_identity
from ._locks import check_locks
from ._offers import Offer, list_offers
from ._policies import read_policies
from ._quota import SubscriptionQuotas, find_quotas
from ._registration import check_providers, read_subscription


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """The place, the network, the offers in order, and the CIDR blocks that may connect.

    ``security_group`` is the ID of the user's own, or "", and ``identity`` that of the managed
    identity with which machines delete their VMs, or "".
    """

    place: Place
    network: Network
    offers: tuple[Offer, ...]
    allow: tuple[str, ...]
    quotas: SubscriptionQuotas
    security_group: str = ""
    identity: str = ""

    @property
    def location(self) -> str:
        """Where the VMs are, like ``westeurope``."""
        return self.place.location


async def make_launch_plan(api: Api, o: AzureOptions, *, address_service_url: str) -> LaunchPlan:
    """Look up all that the options name.

    ``address_service_url`` is a service that returns this computer's public address. Raises
    `UsageError`, with the option's name, for what does not exist or does not fit; `StartError`
    if the subscription's state or its quotas do not allow a single machine; and `AzureError`.
    """
    place = await find_place(api, o)
    location = place.location
    first = Parallel()
    subscription = first.add(lambda: read_subscription(api))
    first.add(lambda: check_providers(api))
    first.add(lambda: check_locks(api, place))
    policies = first.add(lambda: read_policies(api, place))
    skus = first.add(lambda: read_skus(api, location=location))
    network = first.add(lambda: find_network(api, o, place))
    security_group = first.add(lambda: find_security_group(api, o, place))
    quotas = first.add(lambda: find_quotas(api, o, location=location))
    identity = first.add(lambda: find_identity(api, o, place))
    await first.run()

    markets = subscription.result.keep_markets(o.markets)
    policies.result.check(o, place)
    sizes = policies.result.keep_allowed(skus.result.sizes(o), is_named=bool(o.vm_sizes))
    sizes = _fitting(sizes, o)
    disks = disk_type(requested=o.disk_type)
    skus.result.check_disk_type(disks)
    images = await find_images(api, o, sizes, location=location)
    offers = list_offers(
        o,
        [size for size in sizes if size.name in images],
        images,
        location=location,
        disk_type=disks,
        markets=markets,
    )
    network.result.check_room()
    network.result.check_way_out(o)
    offers = quotas.result.check(offers)
    allow = [*o.allow]
    if not allow and not o.security_group:
        allow = await driver_addresses(
            network.result.blocks,
            is_public=o.public_address,
            address_service_url=address_service_url,
        )
    await check_subnet_rules(api, network.result, blocks=allow, port=o.port)
    return LaunchPlan(
        place,
        network.result,
        tuple(offers),
        tuple(allow),
        quotas.result,
        security_group.result,
        identity.result,
    )


def _fitting(sizes: list[VmSize], o: AzureOptions) -> list[VmSize]:
    """Return the sizes that can have the disks of the options.

    Raises `UsageError` if one that is named can't, or none of those that are not.
    """
    problems = {size.name: misfit(size, o) for size in sizes}
    fitting = [size for size in sizes if not problems[size.name]]
    if (o.vm_sizes and len(fitting) < len(sizes)) or not fitting:
        raise UsageError(next(filter(None, problems.values())))
    return fitting
