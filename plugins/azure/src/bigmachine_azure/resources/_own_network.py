"""bigmachine's own virtual network in the resource group: created once, and kept; it costs nothing.

One that exists is never sent again: a PUT replaces all of it, with the subnets that others have
added (ray issue 44100).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import backoff

from ..api._errors import AzureError
from ..options._option_formats import last_part
from ._network import Network

if TYPE_CHECKING:
    from ..api._api import Api

logger = logging.getLogger("bigmachine.azure")

_ATTEMPTS = 8  # with their delays up to a minute


async def open_network(
    api: Api, network: Network, *, location: str, tags: Mapping[str, str]
) -> str:
    """Create what is missing of the network, and return the ID of its subnet.

    A new network gets ``tags``, the user's. Raises `AzureError`.
    """
    if network.has_subnet:
        return network.subnet
    delays = backoff(_ATTEMPTS)
    while True:
        found = await _read(api, network.name)
        if last_part(network.subnet) in _subnets(found):
            return network.subnet
        try:
            if found:
                await _create_subnet(api, network)
            else:
                await _create(api, network, location=location, tags=tags)
            return network.subnet
        except AzureError as error:
            # The resource group may be so new that it is not found yet. Or another driver creates
            # the network at this moment: a conflict, and then it is there.
            is_awaited = error.is_not_found or error.is_temporary or error.status == 409
            delay = next(delays, None)
            if delay is None or not is_awaited:
                raise
            logger.debug("the network %s can't be created yet: %s", network.name, error)
            await trio.sleep(delay)


async def _read(api: Api, name: str) -> Mapping[str, Any]:
    """Return a network of the resource group; {} if there is none."""
    try:
        found: Mapping[str, Any] = await api.read("virtual_networks.get", virtual_network_name=name)
    except AzureError as error:
        if error.is_not_found:
            return {}
        raise
    return found


def _subnets(network: Mapping[str, Any]) -> list[str]:
    return [subnet["name"] for subnet in (network.get("properties") or {}).get("subnets") or ()]


async def _create(api: Api, network: Network, *, location: str, tags: Mapping[str, str]) -> None:
    logger.info("creating the network %s with the blocks %s", network.name, network.blocks)
    subnet = {"name": last_part(network.subnet), "properties": _subnet_properties(network)}
    await api.change_and_wait(
        "virtual_networks.create_or_update",
        virtual_network_name=network.name,
        parameters={
            "location": location,
            "tags": dict(tags),
            "properties": {
                "addressSpace": {"addressPrefixes": [*network.blocks]},
                "subnets": [subnet],
            },
        },
    )


async def _create_subnet(api: Api, network: Network) -> None:
    await api.change_and_wait(
        "subnets.create_or_update",
        virtual_network_name=network.name,
        subnet_name=last_part(network.subnet),
        subnet_parameters={"properties": _subnet_properties(network)},
    )


def _subnet_properties(network: Network) -> dict[str, Any]:
    return {
        "addressPrefix": network.subnet_blocks[0],
        # By default, a new subnet is private: a VM without a public address could not even delete
        # itself ("Default outbound access in Azure").
        "defaultOutboundAccess": True,
    }
