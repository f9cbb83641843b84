"""The tests' Azure has networks, security groups, interfaces, addresses and disks as Azure has."""

from __future__ import annotations

import pytest

from tests.integration.azure.sdk import QUICKLY, refused_code
from tests.support.schemas import REFUSED

NETWORK = {
    "location": "westeurope",
    "properties": {
        "addressSpace": {"addressPrefixes": ["10.77.0.0/16"]},
        "subnets": [{"name": "machines", "properties": {"addressPrefix": "10.77.0.0/29"}}],
    },
}
ADDRESS = {
    "location": "westeurope",
    "sku": {"name": "Standard"},
    "properties": {"publicIPAllocationMethod": "Static"},
}


def rule(name="tcp", **properties):
    given = {
        "protocol": "Tcp",
        "access": "Allow",
        "direction": "Inbound",
        "priority": 100,
        "sourceAddressPrefix": "192.0.2.7/32",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "7443",
    }
    return {"name": name, "properties": {**given, **properties}}


def sources(*prefixes):
    return rule(sourceAddressPrefix=None, sourceAddressPrefixes=[*prefixes])


def group(*rules):
    return {"location": "westeurope", "properties": {"securityRules": [*rules]}}


@pytest.fixture
def network(arm, client, consistent):
    arm.groups.add("rg")
    return client("network")


@pytest.fixture
def make(network):
    """Make a resource of Microsoft.Network in the group ``rg``; delete it after the test."""
    made = []

    def make(operations, name, body):
        of = getattr(network, operations)
        resource = of.begin_create_or_update("rg", name, body, **QUICKLY).result()
        made.append((of, name))
        return resource

    yield make
    for of, name in reversed(made):
        of.begin_delete("rg", name, **QUICKLY).result()


def nic(network, *, group=None, address=None):
    configuration = {"subnet": {"id": network.subnets[0].id}}
    if address:
        configuration["publicIPAddress"] = {"id": address.id}
    properties = {"ipConfigurations": [{"name": "ip", "properties": configuration}]}
    if group:
        properties["networkSecurityGroup"] = {"id": group.id}
    return {"location": "westeurope", "properties": properties}


def test_network_is_made_with_private_subnets_and_cannot_go_while_it_is_used(network, make):
    vnet = make("virtual_networks", "bigmachine", NETWORK)
    assert vnet.provisioning_state == "Succeeded"
    [subnet] = vnet.subnets
    assert (subnet.name, subnet.default_outbound_access) == ("machines", False)
    made = make("network_interfaces", "nic-1", nic(vnet))
    assert made.ip_configurations[0].private_ip_address == "10.77.0.4"
    delete = network.virtual_networks.begin_delete
    assert refused_code(delete, "rg", "bigmachine") == "InUseSubnetCannotBeDeleted"
    without = {**NETWORK, "properties": {**NETWORK["properties"], "subnets": []}}
    again = network.virtual_networks.begin_create_or_update
    assert refused_code(again, "rg", "bigmachine", without) == "InUseSubnetCannotBeDeleted"
    tagged = {**NETWORK, "tags": {"a": "b"}, "properties": {**NETWORK["properties"]}}
    del tagged["properties"]["subnets"]
    assert len(again("rg", "bigmachine", tagged, **QUICKLY).result().subnets) == 1


def test_subnet_has_room_for_three_of_its_eight_addresses(network, make):
    vnet = make("virtual_networks", "bigmachine", NETWORK)
    for number in range(3):
        make("network_interfaces", f"nic-{number}", nic(vnet))
    create = network.network_interfaces.begin_create_or_update
    assert refused_code(create, "rg", "one-too-many", nic(vnet)) == "SubnetIsFull"


@pytest.mark.parametrize(
    ("prefix", "code"),
    [
        ("10.78.0.0/24", "NetcfgSubnetRangeOutsideVnet"),
        ("10.77.0.0/24", "NetcfgSubnetRangesOverlap"),
        ("10.77.1.1/24", "InvalidCIDRNotation"),
    ],
)
def test_subnet_must_be_a_free_block_of_its_network(network, make, prefix, code):
    make("virtual_networks", "bigmachine", NETWORK)
    create = network.subnets.begin_create_or_update
    body = {"properties": {"addressPrefix": prefix}}
    assert refused_code(create, "rg", "bigmachine", "second", body) == code


def test_security_group_has_its_rules_and_azures_and_cannot_go_while_used(network, make):
    vnet = make("virtual_networks", "bigmachine", NETWORK)
    made = make("network_security_groups", "bm-main", group(rule()))
    assert [of.name for of in made.security_rules] == ["tcp"]
    assert made.default_security_rules[2].name == "DenyAllInBound"
    used = make("network_interfaces", "nic-1", nic(vnet, group=made))
    seen = network.network_security_groups.get("rg", "BM-MAIN")
    assert [of.id for of in seen.network_interfaces] == [used.id]
    delete = network.network_security_groups.begin_delete
    assert refused_code(delete, "rg", "bm-main") == "InUseNetworkSecurityGroupCannotBeDeleted"


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([rule("a"), rule("b")], "SecurityRuleConflict"),
        ([rule(priority=99)], "SecurityRuleInvalidPriority"),
        ([rule(sourceAddressPrefix="192.0.2.300")], "SecurityRuleInvalidAddressPrefix"),
        ([rule(destinationPortRange="80-70")], "SecurityRuleInvalidPortRange"),
        ([rule(sourceAddressPrefix=None)], "SecurityRuleParameterMissing"),
        ([rule(sourceAddressPrefix="192.0.2.7/24")], "SecurityRuleInvalidAddressPrefix"),
        ([sources("VirtualNetwork")], "SecurityRuleParameterContainsUnsupportedValue"),
        ([sources("10.0.0.0/8", "10.1.0.0/16")], "OverlappingSubnetsNotPermittedInSecurityRule"),
        (
            [sources("10.0.0.0/8", "2001:db8::/32")],
            "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies",
        ),
    ],
)
def test_security_rules_that_azure_would_refuse_are_refused(network, rules, code):
    create = network.network_security_groups.begin_create_or_update
    assert refused_code(create, "rg", "bm-main", group(*rules)) == code


def test_rule_with_an_unknown_direction_fails_the_test(network):
    create = network.network_security_groups.begin_create_or_update
    body = group(rule(direction="In"))
    assert refused_code(create, "rg", "bm-main", body) == "InvalidRequestContent"
    assert "direction: 'In': must be one of" in REFUSED.pop()


def test_public_address_is_standard_and_static_and_cannot_go_while_it_is_used(network, make):
    vnet = make("virtual_networks", "bigmachine", NETWORK)
    made = make("public_ip_addresses", "address", ADDRESS)
    assert made.ip_address.startswith("203.0.113.")
    make("network_interfaces", "nic-1", nic(vnet, address=made))
    delete = network.public_ip_addresses.begin_delete
    assert refused_code(delete, "rg", "address") == "PublicIPAddressCannotBeDeleted"
    create = network.public_ip_addresses.begin_create_or_update
    basic = {"location": "westeurope", "properties": {"publicIPAllocationMethod": "Static"}}
    assert refused_code(create, "rg", "basic", basic) == "IPv4BasicSkuPublicIpCountLimitReached"


def test_what_a_resource_names_must_be_there_and_in_its_location(arm, network, make):
    vnet = make("virtual_networks", "bigmachine", NETWORK)
    create = network.network_interfaces.begin_create_or_update
    elsewhere = {**nic(vnet), "location": "eastus"}
    assert refused_code(create, "rg", "nic-1", elsewhere) == "InvalidResourceReference"
    create = network.virtual_networks.begin_create_or_update
    moved = {**NETWORK, "location": "eastus"}
    assert refused_code(create, "rg", "bigmachine", moved) == "InvalidResourceLocation"
    assert refused_code(create, "other", "bigmachine", NETWORK) == "ResourceGroupNotFound"


def test_name_that_azure_does_not_take_fails_the_test(network):
    create = network.virtual_networks.begin_create_or_update
    assert refused_code(create, "rg", "-x", NETWORK) == "InvalidResourceName"
    assert refused_code(create, "rg", "my-windows-net", NETWORK) == "ReservedResourceName"
    assert [of.partition(":")[0] for of in REFUSED] == [
        "InvalidResourceName",
        "ReservedResourceName",
    ]
    REFUSED.clear()


def test_interface_of_a_machine_cannot_go_and_a_failed_one_reserves_it(arm, network, make):
    vnet = make("virtual_networks", "bigmachine", NETWORK)
    id = make("network_interfaces", "nic-1", nic(vnet)).id
    document = arm.resources.find(id)
    document["properties"]["virtualMachine"] = {"id": "/vms/m1"}
    delete = network.network_interfaces.begin_delete
    assert refused_code(delete, "rg", "nic-1") == "NicInUse"
    del document["properties"]["virtualMachine"]
    arm.interfaces.reserve(document, "/vms/m1")
    assert refused_code(delete, "rg", "nic-1") == "NicReservedForAnotherVm"
    arm.advance(181)


def test_disk_cannot_go_while_it_is_attached(arm, client, network):
    vm = {"id": "/vms/m1", "location": "westeurope"}
    disk = arm.disks.create_for(vm, "data", group="rg", size_gb=32, sku="Premium_LRS")
    disks = client("compute").disks
    assert [(of.name, of.disk_state) for of in disks.list()] == [("data", "Attached")]
    assert arm.leftovers() == ["disks data"]
    assert refused_code(disks.begin_delete, "rg", "data") == "OperationNotAllowed"
    arm.disks.release(disk, is_deleted=False)
    disks.begin_delete("rg", "data", **QUICKLY).result()


def test_disk_of_its_own_is_made_and_deleted(arm, client, network):
    disks = client("compute").disks
    body = {
        "location": "westeurope",
        "sku": {"name": "Premium_LRS"},
        "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 32},
    }
    made = disks.begin_create_or_update("rg", "data", body, **QUICKLY).result()
    assert (made.disk_state, made.disk_size_gb) == ("Unattached", 32)
    body["properties"]["diskSizeGB"] = 0
    assert refused_code(disks.begin_create_or_update, "rg", "none", body) == "InvalidParameter"
    disks.begin_delete("rg", "data", **QUICKLY).result()


def test_rule_may_name_a_group_of_interfaces_which_then_cannot_go(network, make):
    vnet = make("virtual_networks", "bigmachine", NETWORK)
    asg = make("application_security_groups", "workers", {"location": "westeurope"})
    named = {"sourceAddressPrefix": None, "sourceApplicationSecurityGroups": [{"id": asg.id}]}
    made = make("network_security_groups", "bm-main", group(rule(**named)))
    assert made.security_rules[0].source_application_security_groups[0].id == asg.id
    body = nic(vnet)
    of_ip = body["properties"]["ipConfigurations"][0]["properties"]
    of_ip["applicationSecurityGroups"] = [{"id": asg.id}]
    make("network_interfaces", "nic-1", body)
    delete = network.application_security_groups.begin_delete
    assert refused_code(delete, "rg", "workers") == "InUseApplicationSecurityGroupCannotBeDeleted"


def test_long_lists_come_in_pages(arm, network):
    arm.page_size = 2
    for number in range(5):
        arm.networks.add(f"net-{number}", group="rg")
    names = [of.name for of in network.virtual_networks.list("rg")]
    assert names == [f"net-{number}" for number in range(5)]
    assert arm.count("virtual_networks.list") == 3


def test_change_during_another_one_is_to_be_repeated(arm, network, make):
    arm.operations.seconds = 3600.0
    change = network.virtual_networks.begin_create_or_update
    change("rg", "bigmachine", NETWORK, polling=False)
    assert refused_code(change, "rg", "bigmachine", NETWORK) == "AnotherOperationInProgress"
    vnet = network.virtual_networks.get("rg", "bigmachine")
    create = network.network_interfaces.begin_create_or_update
    assert refused_code(create, "rg", "nic-1", nic(vnet)) == "RetryableError"


def test_lists_lag_behind_for_a_while(arm, network, make):
    arm.chance.probability, arm.chance.now = 1.0, lambda: 0.0  # however slow this computer is
    make("network_security_groups", "bm-main", group())
    listed = network.network_security_groups.list
    assert [len([*listed("rg")]) for _ in range(4)] == [0, 0, 0, 1]
    network.network_security_groups.begin_delete("rg", "bm-main", **QUICKLY).result()
    assert [len([*listed("rg")]) for _ in range(4)] == [1, 1, 1, 0]
