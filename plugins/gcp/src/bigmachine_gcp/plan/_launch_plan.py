"""What `setup` checks with Google before anything is created: all that the options name exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bigmachine.cloud import Parallel
from bigmachine.errors import UsageError
from bigmachine.system import addresses_inside, driver_addresses

from ..api._api import Api
from ..api._place import Place, find_place
from ..catalog._accelerators import with_accelerators
from ..catalog._disk_types import local_ssds
from ..catalog._images import find_images
from ..catalog._machine_types import MachineType, find_types
from ..options._kms_key import check_location
from ..options._options import GcpOptions
from ..resources._firewall_policies import check_firewalls
from ..resources._network import Network, find_network
from ._offers import Offer, list_offers
from ._policies import check_policies
from ._quota import ProjectQuotas, find_quotas
from ._service_account import check_service_account


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """The region, the network, the offers in order, and the CIDR blocks that may connect."""

    region: str
    network: Network
    offers: tuple[Offer, ...]
    allow: tuple[str, ...]
    quotas: ProjectQuotas


async def make_launch_plan(api: Api, o: GcpOptions, *, address_service_url: str) -> LaunchPlan:
    """Look up all that the options name.

    ``address_service_url`` is a service that returns this computer's public address. Raises
    `UsageError`, with the option's name, for what does not exist or does not fit; `StartError`
    if the project's quotas do not allow a single machine; and `GcpError`.
    """
    place = await find_place(api, o)
    check_location(o.kms_key, region=place.region)
    first = Parallel()
    pools = first.add(lambda: _find_types(api, o, place))
    network = first.add(lambda: _find_network(api, o, place))
    first.add(lambda: check_policies(api, o))
    first.add(lambda: check_service_account(api, o))
    quotas = first.add(lambda: find_quotas(api, o, region=place.region))
    await first.run()
    types = pools.result
    then = Parallel()
    images = then.add(lambda: find_images(api, image=o.image, disk=o.disk, types=types))
    allow = then.add(lambda: _find_allow(api, o, network.result, address_service_url))
    await then.run()
    offers = [*list_offers(o, types, images.result, place.zones)]
    offers = quotas.result.check(offers)
    return LaunchPlan(place.region, network.result, tuple(offers), allow.result, quotas.result)


async def _find_types(api: Api, o: GcpOptions, place: Place) -> Sequence[MachineType]:
    types = await find_types(api, o.machine_types, region=place.region, zones=place.zones)
    if o.accelerator:
        types = await with_accelerators(
            api,
            types,
            accelerator=o.accelerator_type,
            count=o.accelerator_count,
            zones=place.zones,
        )
    _check_markets(types, o)
    _check_local_disks(types, o)
    _check_sizes(types, o)
    return types


async def _find_network(api: Api, o: GcpOptions, place: Place) -> Network:
    network = await find_network(
        api, network=o.network, subnetwork=o.subnetwork, region=place.region
    )
    if o.public_address and not addresses_inside(network.blocks):
        await network.check_internet_route(api)
    return network


async def _find_allow(
    api: Api, o: GcpOptions, network: Network, address_service_url: str
) -> tuple[str, ...]:
    """Return the CIDR blocks that may connect; none if the user's own rules say it."""
    if o.network_tags:
        return ()
    allow = o.allow or await driver_addresses(
        network.blocks, is_public=o.public_address, address_service_url=address_service_url
    )
    await check_firewalls(api, network, blocks=allow, port=o.port)
    return tuple(allow)


def _check_markets(types: Sequence[MachineType], o: GcpOptions) -> None:
    for each in types:
        if not each.markets.intersection(o.markets):
            raise UsageError(
                f"market: {each.name} is not sold as {' or '.join(o.markets)}, but as "
                f"{' or '.join(sorted(each.markets))}: choose another market or type"
            )


def _check_local_disks(types: Sequence[MachineType], o: GcpOptions) -> None:
    lacking = [each.name for each in types if not local_ssds(each)]
    if o.local_disks and lacking:
        raise UsageError(
            f"local_disks: {', '.join(lacking)} can't have local SSDs: name types that can, like "
            f"'n2-standard-4' or 'c3-standard-4-lssd' (see 'Choose a valid number of Local SSD "
            f"disks' in the Compute Engine documentation)"
        )


def _check_sizes(types: Sequence[MachineType], o: GcpOptions) -> None:
    for each in types:
        if 0 < each.max_disk_gb < o.disk + o.data_disk:
            name = "data_disk" if o.data_disk else "disk"
            raise UsageError(
                f"{name}: the disks of {each.name} have at most {each.max_disk_gb} GiB together, "
                f"not {o.disk + o.data_disk}: pass less, or name a larger type"
            )
