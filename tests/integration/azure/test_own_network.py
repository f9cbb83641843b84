"""The resource group and the network of all sessions: made once, kept, and never sent again."""

from __future__ import annotations

import dataclasses

import pytest
import trio

from bigmachine.errors import StartError
from bigmachine_azure.resources._network import Network
from bigmachine_azure.resources._own_network import open_network
from bigmachine_azure.resources._resource_group import open_resource_group
from tests.support.azure.arm import LOCATION
from tests.support.azure.errors import ArmError
from tests.support.azure.fixtures import error_of

GROUP = "bigmachine-westeurope"
BLOCK = "10.77.0.0/16"
DENIED = ArmError(403, "AuthorizationFailed", "… does not have authorization to perform action …")


@pytest.fixture
def group(use):
    """Run a test with an API that has a resource group, which does not exist."""

    def run(test):
        async def main(api):
            await api.open()
            api.resource_group = GROUP
            await test(api)

        use(main)

    return run


def missing(api):
    id = f"{api.group_id()}/providers/Microsoft.Network/virtualNetworks/bigmachine"
    return Network(
        id=id,
        subnet=f"{id}/subnets/machines",
        blocks=(BLOCK,),
        subnet_blocks=(BLOCK,),
        is_missing=True,
        has_subnet=False,
    )


async def make_group(api):
    await open_resource_group(api, location=LOCATION, tags={"team": "ml"})


async def make_network(api, network):
    return await open_network(api, network, location=LOCATION, tags={"team": "ml"})


# -- the resource group ---------------------------------------------------------------


def test_resource_group_is_created_once_with_the_users_tags(group, arm):
    async def test(api):
        await make_group(api)
        await make_group(api)
        [call] = arm.calls("resource_groups.create_or_update")
        assert call.body == {"location": LOCATION, "tags": {"team": "ml"}}

    group(test)


@pytest.mark.parametrize("by_another_driver", [False, True])
def test_new_resource_group_need_not_be_found_by_all_at_once(group, arm, by_another_driver):
    def create(api):
        return api.change_and_wait(
            "network_security_groups.create_or_update",
            network_security_group_name="bm-test",
            parameters={"location": LOCATION},
        )

    async def test(api):
        missing = ArmError(404, "ResourceGroupNotFound", f"Resource group '{GROUP}' …")
        if by_another_driver:
            arm.groups.add(GROUP, location=LOCATION)
        await make_group(api)
        arm.refuse("network_security_groups.create_or_update", missing, times=2)
        assert (await create(api))["name"] == "bm-test"
        await api.change_and_wait(
            "network_security_groups.delete", network_security_group_name="bm-test"
        )
        api._group_is_new_until = trio.current_time()  # a minute later
        arm.refuse("network_security_groups.create_or_update", missing)
        assert (await error_of(create(api))).is_not_found

    group(test)


def test_resource_group_that_nobody_here_may_look_at_is_taken_as_it_is(group, arm):
    async def test(api):
        arm.refuse_always("resource_groups.get", DENIED)
        await make_group(api)
        assert arm.count("resource_groups.create_or_update") == 0

    group(test)


@pytest.mark.parametrize("is_seen_late", [False, True])
def test_resource_group_that_is_being_deleted_is_told(group, arm, is_seen_late):
    async def test(api):
        arm.groups.add(GROUP)["properties"]["provisioningState"] = "Deleting"
        if is_seen_late:
            gone = ArmError(404, "ResourceGroupNotFound", "Resource group … could not be found.")
            arm.refuse("resource_groups.get", gone)
        with pytest.raises(StartError, match=f"resource_group: {GROUP} is being deleted"):
            await make_group(api)

    group(test)


# -- the network ----------------------------------------------------------------------


def test_network_is_created_with_a_way_out_for_machines_without_addresses(group, arm):
    async def test(api):
        await make_group(api)
        subnet = await make_network(api, missing(api))
        assert subnet == missing(api).subnet
        [call] = arm.calls("virtual_networks.create_or_update")
        assert call.body == {
            "location": LOCATION,
            "tags": {"team": "ml"},
            "properties": {
                "addressSpace": {"addressPrefixes": [BLOCK]},
                "subnets": [
                    {
                        "name": "machines",
                        "properties": {"addressPrefix": BLOCK, "defaultOutboundAccess": True},
                    }
                ],
            },
        }

    group(test)


def test_network_that_is_there_by_now_is_not_sent_again(group, arm):
    async def test(api):
        planned = missing(api)
        arm.networks.add("bigmachine", group=GROUP, prefixes=[BLOCK], subnets={"machines": BLOCK})
        assert await make_network(api, planned) == planned.subnet
        assert await make_network(api, dataclasses.replace(planned, has_subnet=True))
        for method in ("virtual_networks", "subnets"):
            assert arm.count(f"{method}.create_or_update") == 0

    group(test)


def test_only_the_subnet_is_created_where_the_network_has_others(group, arm):
    async def test(api):
        arm.networks.add(
            "bigmachine", group=GROUP, prefixes=[BLOCK], subnets={"mine": "10.77.128.0/24"}
        )
        network = missing(api)
        network = dataclasses.replace(network, is_missing=False, subnet_blocks=("10.77.0.0/24",))
        await make_network(api, network)
        assert [subnet["name"] for subnet in arm.networks.subnets()] == ["mine", "machines"]
        assert arm.count("virtual_networks.create_or_update") == 0

    group(test)


@pytest.mark.long
def test_drivers_that_start_at_once_share_the_network(group, arm):
    async def test(api):
        await make_group(api)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(make_network, api, missing(api))
        assert [subnet["name"] for subnet in arm.networks.subnets()] == ["machines"]

    group(test)


def test_network_that_may_not_be_created_is_an_error_at_once(group, arm):
    async def test(api):
        await make_group(api)
        arm.refuse_always("virtual_networks.create_or_update", DENIED)
        with pytest.raises(Exception, match="AuthorizationFailed"):
            await make_network(api, missing(api))
        assert arm.count("virtual_networks.create_or_update") == 1

    group(test)
