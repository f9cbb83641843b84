"""The conformance kit on a real Azure subscription: ``python -m tests.live azure`` runs it."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable
from typing import Any, ClassVar

import trio

from bigmachine_azure import AzureSystem
from bigmachine_azure.api._api import Api
from bigmachine_azure.api._errors import AzureError
from bigmachine_azure.options._tags import DRIVER, tags_of
from bigmachine_azure.resources._resource_group import open_resource_group
from bigmachine_azure.resources._resources import (
    INTERFACE,
    KINDS,
    SECURITY_GROUP,
    VM,
    ResourceKind,
    Resources,
    is_being_deleted,
    session_of_resource,
)
from tests.live import account
from tests.live.account import RUN, Facts, Resource, highest
from tests.live.suite import LiveSuite

_NEW_SECONDS = 120.0  # a list may not have what is new


class Account(account.Account[AzureSystem]):
    """What is in a resource group, which ``network`` names; ids are ``TYPE/NAME``."""

    system_class = AzureSystem
    defaults: ClassVar = {
        "vm_size": "Standard_B2als_v2,Standard_B2s_v2",  # the cheapest sizes with 4 GiB or more
        "market": "on-demand",  # they are not sold as spot VMs
        "lifetime": "14400",  # seconds, a last resort: tests share machines for most of the run
    }
    tags_option = "tags"

    def __init__(self, system: AzureSystem, *, network: str, run: str) -> None:
        super().__init__(system, network=network, run=run)
        self._api = Api(system.options)
        self._api.resource_group = network
        self._resources = Resources(self._api)
        self._created: dict[str, float] = {}  # when, of what `create_foreign` has created

    @staticmethod
    async def facts(system: AzureSystem) -> Facts:
        """Describe the subscription and the plan of a system that is set up."""
        plan = system._plan
        assert plan is not None
        sizes = dict.fromkeys(offer.type_name for offer in plan.offers)
        return Facts(
            account=system._api.subscription,
            place=plan.location,
            machines=f"{' or '.join(sizes)}, {system.options.market}",
            network=system._api.resource_group,
            price=highest(system._prices.per_hour(offer) for offer in plan.offers),
        )

    async def find(self) -> Iterable[Resource]:
        """Return all VMs of the resource group, and what else sessions create."""
        found = [
            _resource(kind, raw)
            for kind in (VM, *KINDS)
            for raw in await self._resources.find(kind, group=self.network)
            if not is_being_deleted(raw)
        ]
        # Disks have no tags: theirs are those of their session.
        tagged = {one.session: one for one in found if one.run and one.session}
        return [
            dataclasses.replace(one, run=tagged[one.session].run, driver=tagged[one.session].driver)
            if one.session in tagged
            else one
            for one in found
        ]

    async def create_foreign(self) -> str | None:
        """Create a network security group of no session."""
        await self._api.open()
        name = f"bigmachine-test-{secrets.token_hex(4)}"
        location = self.options.requested_location
        body = {"location": location, "tags": {RUN: self.run}}
        try:
            await open_resource_group(self._api, location=location, tags={})
            await self._api.change_and_wait(
                "network_security_groups.create_or_update",
                network_security_group_name=name,
                parameters=body,
            )
        except AzureError as error:
            if error.is_denied:
                return None
            raise
        id = f"{SECURITY_GROUP.name}/{name}"
        self._created[id] = trio.current_time()
        return id

    async def delete_foreign(self, id: str) -> None:
        """Delete a network security group."""
        name = id.partition("/")[2]
        await self._resources.delete([self._resources.id(SECURITY_GROUP, name, group=self.network)])
        self._created.pop(id, None)

    def is_new(self, id: str) -> bool:
        """Whether lists may not have it yet."""
        created = self._created.get(id)
        return created is not None and trio.current_time() < created + _NEW_SECONDS

    async def disconnect(self) -> None:
        """Close all connections."""
        await self._api.close()


class TestAzure(LiveSuite):
    bad_options = (
        {"market": "on-demand", "max_price": 0.1},
        {"disk": 0},
        {"disk": 1},
        {"vm_size": "Standard_D2s_v99"},
        {"network": "bigmachine-test-no-such-network"},
        {"image": "Canonical:no-such-offer:server:latest"},
    )


def _resource(kind: ResourceKind, raw: Any) -> Resource:
    tags = tags_of(raw)
    return Resource(
        f"{kind.name}/{raw['name']}",
        run=tags.get(RUN, ""),
        session=session_of_resource(raw),
        driver=tags.get(DRIVER, ""),
        is_billed=kind not in (INTERFACE, SECURITY_GROUP),
    )
