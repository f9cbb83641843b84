"""Networks: bigmachine's own one, or the requested one with its subnet; and who they let in."""

from __future__ import annotations

import pytest

from bigmachine.errors import StartError, UsageError
from bigmachine_azure.resources._subnet_rules import _denial
from tests.integration.azure.plans import ALLOW, plan, planning, refusal
from tests.support.azure.arm import LOCATION, SUBSCRIPTION
from tests.support.azure.errors import ArmError

GROUP = f"bigmachine-{LOCATION}"
NETWORKS = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{{}}/providers/Microsoft.Network/{{}}"
OWN = NETWORKS.format(GROUP, "virtualNetworks/bigmachine")
OTHER = "66666666-6666-4666-8666-666666666666"
DENIED = ArmError(403, "AuthorizationFailed", "The client 'me' does not have authorization")


def test_own_network_is_planned_where_there_is_none(run, arm, monkeypatch):
    network = plan(run).network
    assert (network.id, network.subnet) == (OWN, f"{OWN}/subnets/machines")
    assert (network.is_missing, network.has_subnet) == (True, False)
    assert network.blocks == network.subnet_blocks == ("10.77.0.0/16",)
    inside = "bigmachine.system.cloud._driver_address.source_address"
    monkeypatch.setattr(inside, lambda host: "10.77.0.9" if host.startswith("10.77.") else None)
    assert plan(run).network.blocks == ("172.27.0.0/16",)  # the driver is in the first


def test_own_network_that_exists_is_used_with_its_subnet(run, arm):
    arm.networks.add(
        "bigmachine",
        group=GROUP,
        prefixes=["10.1.0.0/16", "fd00::/48"],
        subnets={"mine": "10.1.0.0/24", "machines": "10.1.1.0/24"},
    )
    network = plan(run).network
    assert (network.subnet, network.has_subnet) == (f"{OWN}/subnets/machines", True)
    assert (network.blocks, network.subnet_blocks) == (("10.1.0.0/16",), ("10.1.1.0/24",))
    assert network.free_addresses == 251
    assert plan(run, subnet="mine").network.subnet_blocks == ("10.1.0.0/24",)


@pytest.mark.parametrize(
    ("subnets", "free"),
    [
        (["10.1.0.0/24"], "10.1.128.0/17"),
        (["10.1.0.0/17", "10.1.128.0/24"], "10.1.192.0/18"),
        (["10.1.0.0/16"], ""),
        (["10.1.0.0/17", "10.1.128.0/17"], ""),
        ([], "10.1.0.0/16"),
    ],
)
def test_new_subnet_of_own_network_overlaps_no_other(run, arm, subnets, free):
    by_name = {f"s{number}": block for number, block in enumerate(subnets)}
    arm.networks.add("bigmachine", group=GROUP, prefixes=["10.1.0.0/16"], subnets=by_name)
    if free:
        network = plan(run).network
        assert (network.has_subnet, network.subnet_blocks) == (False, (free,))
    else:
        said = refusal(run, UsageError)
        assert f"the others ({', '.join(by_name)}) leave no room for one" in said


def test_own_network_of_another_location_leaves_its_name_to_it(run, arm):
    arm.groups.add("shared")
    arm.networks.add("bigmachine", group="shared", location="northeurope")

    async def test(planner):
        network = (await planner.plan(resource_group="shared")).network
        assert (network.name, network.is_missing) == (f"bigmachine-{LOCATION}", True)
        arm.networks.add(f"bigmachine-{LOCATION}", group="shared", location="eastus", subnets={})
        said = await planner.refusal(UsageError, resource_group="shared")
        assert said.startswith(f"network: bigmachine-{LOCATION} is in eastus, but the session in")
        arm.networks.add("bigmachine", group="shared", subnets={})
        network = (await planner.plan(resource_group="shared")).network
        assert (network.is_missing, network.has_subnet) == (False, False)
        assert network.subnet_blocks == ("10.1.0.0/16",)

    planning(run, test)


MISFITS = [
    (
        {"network": "lap"},
        "network: there is no virtual network 'lap' in the resource group lab: list all with `az",
    ),
    (
        {"network": NETWORKS.format("gone", "virtualNetworks/lab")},
        "network: there is no virtual network 'lab' in the resource group gone",
    ),
    (
        {"network": NETWORKS.format("lab", "virtualNetworks/lab").replace(SUBSCRIPTION, OTHER)},
        f"is in another subscription than the VMs ({SUBSCRIPTION}), and Azure wants it in theirs",
    ),
    (
        {"network": "far"},
        "network: far is in northeurope, but the session in westeurope: name one of westeurope, "
        "or pass location='northeurope'",
    ),
    ({"network": "two"}, "subnet: the network two has several: name one of a, b"),
    ({"network": "two", "subnet": "c"}, "subnet: the network two has no subnet 'c'; it has a, b"),
    ({"network": "special"}, "network: special has no subnet for VMs: name another network, or"),
    (
        {"network": "special", "subnet": "AzureBastionSubnet"},
        "subnet: AzureBastionSubnet is for a service of Azure alone: name another one",
    ),
    (
        {"network": "special", "subnet": "web"},
        "subnet: web is delegated to Microsoft.Web/serverFarms, and takes no VMs: name another",
    ),
    ({"network": "special", "subnet": "six"}, "subnet: six is IPv6 only, and machines need IPv4"),
    (
        {"security_group": "none"},
        "security_group: there is no network security group 'none' in the resource group lab",
    ),
    (
        {"security_group": "away"},
        "security_group: away is in northeurope, but the session in westeurope",
    ),
]


def add_group(arm, name, *, location=LOCATION, rules=()):
    """Add a network security group of the user's, which Azure adds its own rules to."""
    document = {
        "id": NETWORKS.format("lab", f"networkSecurityGroups/{name}"),
        "name": name,
        "type": "Microsoft.Network/networkSecurityGroups",
        "location": location,
        "properties": {
            "securityRules": [{"name": f"rule-{n}", "properties": r} for n, r in enumerate(rules)],
            "defaultSecurityRules": [{"name": "DenyAllInBound", "properties": rule("Deny", 65500)}],
        },
    }
    return arm.resources.add(document, is_users=True)["id"]


def rule(access, priority, *, source="*", ports="*", protocol="*", direction="Inbound"):
    return {
        "access": access,
        "priority": priority,
        "direction": direction,
        "protocol": protocol,
        "sourceAddressPrefix": source,
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": ports,
    }


def test_network_or_security_group_that_does_not_fit_is_refused(run, arm):
    arm.groups.add("lab")
    add_group(arm, "away", location="northeurope")
    arm.networks.add("far", group="lab", location="northeurope")
    arm.networks.add("two", group="lab", subnets={"a": "10.1.0.0/24", "b": "10.1.1.0/24"})
    delegation = {"name": "d", "properties": {"serviceName": "Microsoft.Web/serverFarms"}}
    special = {
        "AzureBastionSubnet": "10.1.0.0/26",
        "GatewaySubnet": "10.1.1.0/26",
        "web": {"addressPrefix": "10.1.2.0/24", "delegations": [delegation]},
        "six": {"addressPrefixes": ["fd00::/64"]},
    }
    arm.networks.add("special", group="lab", subnets=special)

    async def test(planner):
        for options, says in MISFITS:
            said = await planner.refusal(UsageError, resource_group="lab", **options)
            assert says in said, said

    planning(run, test)


def test_requested_network_is_found_by_its_name_or_its_id(run, arm):
    arm.groups.add("lab")
    subnets = {"GatewaySubnet": "10.1.1.0/26", "vms": "10.1.0.0/28"}
    id = arm.networks.add("lab", group="lab", subnets=subnets)["id"]

    async def test(planner):
        for options in ({"network": "lab", "resource_group": "lab"}, {"network": id}):
            network = (await planner.plan(**options)).network
            assert (network.subnet, network.has_subnet) == (f"{id}/subnets/vms", True)
            assert network.free_addresses == 11
        arm.refuse_always("virtual_networks.list_usage", DENIED)
        assert (await planner.plan(network=id)).network.free_addresses is None

    planning(run, test)


def test_subnet_without_a_free_address_is_an_error(run, arm):
    id = arm.networks.add("lab", group="lab")["id"]
    full = {"value": [{"id": f"{id}/subnets/default", "currentValue": 251.0, "limit": 251.0}]}
    arm.edit("virtual_networks.list_usage", lambda answer: full)
    said = refusal(run, StartError, network=id)
    assert said.startswith("subnet: no private address is free in default of lab: delete VMs there")


WAYS_OUT = {
    "none": {"defaultOutboundAccess": False},
    "gateway": {"defaultOutboundAccess": False, "natGateway": {"id": "/x"}},
    "routes": {"defaultOutboundAccess": False, "routeTable": {"id": "/x"}},
    "old": {},
}


def test_machines_that_could_not_delete_themselves_are_refused(run, arm, monkeypatch):
    monkeypatch.setattr(
        "bigmachine.system.cloud._driver_address.source_address", lambda host: "10.1.0.9"
    )
    subnets = {
        name: {"addressPrefix": f"10.1.{n}.0/24", **properties}
        for n, (name, properties) in enumerate(WAYS_OUT.items())
    }
    id = arm.networks.add("lab", group="lab", subnets=subnets)["id"]

    async def test(planner):
        private = {"network": id, "public_address": False}
        for name in ("gateway", "routes", "old"):
            assert (await planner.plan(**private, subnet=name)).offers
        said = await planner.refusal(UsageError, **private, subnet="none")
        assert said.startswith("public_address: nothing in the subnet none reaches the internet, s")
        assert f"`az network vnet subnet update --ids {id}/subnets/none --nat-gateway NAME`" in said
        assert (await planner.plan(**private, subnet="none", allow_billing_leak=True)).offers
        # a public address leads out
        assert (await planner.plan(network=id, subnet="none")).offers

    planning(run, test)


def test_subnet_whose_rules_drop_the_driver_is_refused(run, arm):
    allow_driver = rule("Allow", 300, source="192.0.2.0/24", ports="7000-8000", protocol="Tcp")
    names = {
        "closed": add_group(arm, "closed"),
        "open": add_group(arm, "open", rules=[allow_driver]),
        "late": add_group(arm, "late", rules=[allow_driver, rule("Deny", 200)]),
    }
    subnets = {
        name: {"addressPrefix": f"10.1.{n}.0/24", "networkSecurityGroup": {"id": id}}
        for n, (name, id) in enumerate(names.items())
    }
    network = arm.networks.add("lab", group="lab", subnets=subnets)["id"]

    async def test(planner):
        assert (await planner.plan(network=network, subnet="open")).allow == (ALLOW,)
        said = await planner.refusal(UsageError, network=network, subnet="closed")
        assert said.startswith(
            "subnet: the network security group closed of closed drops TCP port 7443 from "
            "192.0.2.7/32 (by its rule DenyAllInBound), so the driver would not reach machines"
        )
        assert "--source-address-prefixes 192.0.2.7/32 --destination-port-ranges 7443" in said
        said = await planner.refusal(UsageError, network=network, subnet="late")
        assert "(by its rule rule-1)" in said
        await planner.refusal(UsageError, network=network, subnet="open", port=443)
        # the user decides who may connect
        assert await planner.plan(
            network=network, subnet="open", security_group=names["open"], allow=()
        )
        arm.refuse_always("network_security_groups.get", DENIED)
        assert (await planner.plan(network=network, subnet="closed")).offers

    planning(run, test)


@pytest.mark.parametrize(
    ("rules", "denial"),
    [
        ([], ""),
        ([rule("Deny", 100, ports="22")], ""),
        ([rule("Deny", 100, protocol="Udp")], ""),
        ([rule("Deny", 100, direction="Outbound")], ""),
        ([rule("Deny", 100, source="Internet")], "0"),
        ([rule("Deny", 100, source="VirtualNetwork")], ""),
        ([rule("Deny", 100, source="AzureLoadBalancer")], ""),
        ([rule("Deny", 100, source="8.8.0.0/16")], "0"),
        ([rule("Deny", 100, source="8.8.8.8")], ""),  # the block is larger
        ([rule("Deny", 100), rule("Allow", 99, source="8.8.8.0/23")], ""),
        ([rule("Deny", 100), rule("Allow", 101)], "0"),
        ([{**rule("Deny", 100, source=""), "sourceAddressPrefixes": ["9.0.0.0/8", "*"]}], "0"),
        ([{**rule("Deny", 100, ports=""), "destinationPortRanges": ["22", "7443"]}], "0"),
        ([{**rule("Deny", 100, source=""), "sourceApplicationSecurityGroups": [{}]}], ""),
    ],
)
def test_rule_with_the_lowest_number_that_matches_decides(rules, denial):
    listed = [{"name": str(n), "properties": each} for n, each in enumerate(rules)]
    assert _denial(listed, "8.8.8.0/24", 7443) == denial


def test_private_address_is_of_the_virtual_network():
    listed = [{"name": "0", "properties": rule("Deny", 9, source="VirtualNetwork")}]
    assert _denial(listed, "10.9.0.1/32", 7443) == "0"
    listed = [{"name": "0", "properties": rule("Deny", 9, source="Internet")}]
    assert _denial(listed, "10.9.0.1/32", 7443) == ""
