"""The network that instances are in: a VPC network, and its subnetwork in the region."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import GcpError
from ..options._option_formats import last_part, resource_path

_DEFAULT = "default"
_GATEWAY = "/default-internet-gateway"
_INSTEAD = "or pass public_address=False on a computer that can reach the network's own addresses"
# Subnetworks with another purpose are for load balancers, proxies and the like ("Subnetwork").
_PURPOSES = ("", "PRIVATE", "PRIVATE_RFC_1918")


@dataclass(frozen=True, slots=True)
class Network:
    """A VPC network, and its subnetwork for the instances, as paths ``projects/…``.

    ``project`` is where its firewall rules are: with a shared VPC, the host project. ``blocks``
    are the CIDR blocks of its subnetworks.
    """

    project: str
    link: str
    subnetwork: str
    blocks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name, without its project."""
        return last_part(self.link)

    async def check_internet_route(self, api: Api) -> None:
        """Raise `UsageError` if no route of the network leads to the internet.

        Google creates one with each network, and some organizations delete it. Without one,
        external addresses can be reached by nobody ("Routes"). Raises `GcpError`.
        """
        try:
            routes = await api.read_all("routes.list", project=self.project)
        except GcpError as error:
            if error.is_denied:
                return
            raise
        for raw in routes:
            # A default route of another kind may lead through an appliance: who made it knows.
            is_way_out = raw.next_hop_gateway.endswith(_GATEWAY) or raw.dest_range == "0.0.0.0/0"
            if is_way_out and resource_path(raw.network) == self.link:
                return
        raise UsageError(
            f"network: {self.name} has no route to the internet (0.0.0.0/0), so external addresses "
            f"don't work there: add one (`gcloud compute routes create internet "
            f"--network={self.name} --project={self.project} --destination-range=0.0.0.0/0 "
            f"--next-hop-gateway=default-internet-gateway`), name another network, {_INSTEAD}"
        )


async def find_network(api: Api, *, network: str, subnetwork: str, region: str) -> Network:
    """Return the network and the subnetwork that these options name, or the default ones.

    Raises `UsageError` if there are none, or if they don't fit the region; `GcpError`.
    """
    project, name = _parsed(network or _DEFAULT, api.project)
    raw: Any = None
    if subnetwork:
        raw = await _read_subnetwork(api, subnetwork, project, region=region)
        found = _parsed(raw.network, api.project)
        if network and found != (project, name):
            raise UsageError(
                f"subnetwork: {raw.name} is in the network {found[1]}, not in {name}: name a "
                f"subnetwork of that network, or omit network"
            )
        project, name = found
    else:
        await _check_network(api, project, name, is_default=not network)
    subnetworks = await _list_subnetworks(api, project, name)
    if raw is None:
        raw = _only_one(subnetworks, name, region)
    _check_usable(raw)
    blocks = [each.ip_cidr_range for each in (raw, *(subnetworks or ()))]
    return Network(
        project=project,
        link=f"projects/{project}/global/networks/{name}",
        subnetwork=resource_path(raw.self_link),
        blocks=tuple(dict.fromkeys(filter(None, blocks))),
    )


def _parsed(network: str, project: str) -> tuple[str, str]:
    """Return the project and the name of a network, given by name, path or URL."""
    path = resource_path(network)
    match = re.match("projects/([^/]+)/", path)
    return (match[1] if match else project), last_part(path)


async def _check_network(api: Api, project: str, name: str, *, is_default: bool) -> None:
    try:
        await api.read("networks.get", project=project, network=name)
    except GcpError as error:
        if not error.is_not_found:
            raise
        if not is_default:
            raise UsageError(
                f"network: the project {project} has no network {name!r}; list all with `gcloud "
                f"compute networks list --project={project}`"
            ) from error
        # Organizations forbid it (compute.skipDefaultNetworkCreation), and many delete it.
        raise UsageError(
            f"network: the project {project} has no network 'default': name another network or "
            f"subnetwork, or create it (`gcloud compute networks create default "
            f"--project={project}`)"
        ) from error


async def _read_subnetwork(api: Api, subnetwork: str, project: str, *, region: str) -> Any:
    path = resource_path(subnetwork)
    match = re.match(r"(?:projects/([^/]+)/)?regions/([^/]+)/subnetworks/", path)
    if match:
        if match[2] != region:
            raise UsageError(
                f"subnetwork: {last_part(path)} is in {match[2]}, but the session in {region}: "
                f"name a subnetwork of {region}, or pass region={match[2]!r}"
            )
        project = match[1] or project
    name = last_part(path)
    try:
        return await api.read("subnetworks.get", project=project, region=region, subnetwork=name)
    except GcpError as error:
        if not error.is_not_found:
            raise
        failure = error
    listed = [raw for raw in await _read_subnetworks(api, project) if raw.name == name]
    list_all = f"list all with `gcloud compute networks subnets list --project={project}`"
    if listed:
        regions = ", ".join(sorted(last_part(raw.region) for raw in listed))
        raise UsageError(
            f"subnetwork: {name} is in {regions}, not in {region}: name a subnetwork of {region}, "
            f"or pass another region; {list_all}"
        ) from failure
    raise UsageError(
        f"subnetwork: the project {project} has no subnetwork {name!r}; {list_all}"
    ) from failure


async def _list_subnetworks(api: Api, project: str, network: str) -> list[Any] | None:
    """List the subnetworks of a network; None if that is not permitted, as in a shared VPC."""
    try:
        raws = await _read_subnetworks(api, project)
    except GcpError as error:
        if not error.is_denied:
            raise
        return None
    return [raw for raw in raws if last_part(raw.network) == network]


async def _read_subnetworks(api: Api, project: str) -> list[Any]:
    raws: list[Any] = await api.read_all(
        "subnetworks.aggregated_list", project=project, allow_unreachable=True
    )
    return raws


def _only_one(subnetworks: Sequence[Any] | None, network: str, region: str) -> Any:
    """Return the subnetwork in the region, if that is the only one. Raises `UsageError`."""
    if subnetworks is None:
        raise UsageError(
            f"subnetwork: these credentials may not list those of {network}: name one, as "
            f"projects/HOST/regions/{region}/subnetworks/NAME"
        )
    usable = [raw for raw in subnetworks if raw.purpose in _PURPOSES]
    here = [raw for raw in usable if last_part(raw.region) == region]
    if len(here) == 1:
        return here[0]
    if here:
        names = ", ".join(sorted(raw.name for raw in here))
        raise UsageError(
            f"subnetwork: the network {network} has several in {region}: name one of {names}"
        )
    regions = sorted({last_part(raw.region) for raw in usable})
    elsewhere = f", but in {', '.join(regions[:8])}" if regions else ""
    raise UsageError(
        f"network: {network} has no subnetwork in {region}{elsewhere}: name another network, pass "
        f"another region, or create one (`gcloud compute networks subnets create NAME "
        f"--network={network} --region={region} --range=10.0.0.0/20`)"
    )


def _check_usable(raw: Any) -> None:
    if raw.purpose not in _PURPOSES:
        raise UsageError(
            f"subnetwork: {raw.name} is for {raw.purpose}, not for instances: name another one"
        )
    if raw.stack_type == "IPV6_ONLY":
        raise UsageError(
            f"subnetwork: {raw.name} is IPv6 only, and machines need IPv4 addresses: name another"
        )
