"""Subnets without an internet route are detected before anything is launched."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from bigmachine.errors import StartError, UsageError
from tests.support.aws.refusals import block_public_access


@pytest.fixture
def private(aws):
    """A subnet of the default VPC whose route table has local routes only."""
    ec2 = aws.ec2
    vpc = ec2.get_default_vpc()
    subnet = ec2.create_subnet(vpc.id, "172.31.240.0/24", "us-east-1a")
    table = ec2.create_route_table(vpc.id)
    association = ec2.associate_route_table(table.id, subnet_id=subnet.id)
    yield SimpleNamespace(id=subnet.id, table=table)
    ec2.disassociate_route_table(association)
    ec2.delete_route_table(table.id)
    ec2.delete_subnet(subnet.id)


def refused(run, **options) -> str:
    async def test(kit):
        with pytest.raises(UsageError) as caught:
            await kit.setup()
        said.append(str(caught.value))

    said: list[str] = []
    run(test, **options)
    return said[0]


def accepted(run, **options) -> set[str]:
    async def test(kit):
        await kit.setup()
        chosen.update(offer.subnet.id for offer in kit.system._plan.offers)

    chosen: set[str] = set()
    run(test, **options)
    return chosen


def test_private_subnet_is_refused_for_public_addresses(run, aws, private):
    said = refused(run, subnets=[private.id])
    assert said.startswith(f"subnets: {private.id}: no route to an internet gateway")
    assert "name public subnets, or pass public_address=False" in said
    assert accepted(run, subnets=[private.id], public_address=False) == {private.id}


def test_subnet_with_a_nat_gateway_is_private(run, aws, private):
    route = aws.ec2.create_route(private.table.id, "0.0.0.0/0")
    route.nat_gateway = SimpleNamespace(id="nat-0123")
    assert private.id in refused(run, subnets=[private.id])


def test_subnet_with_its_own_internet_route_is_public(run, aws, private):
    aws.route_out(private.table)
    assert accepted(run, subnets=[private.id]) == {private.id}


def test_default_route_to_a_firewall_endpoint_is_public(run, aws, private):
    route = aws.ec2.create_route(private.table.id, "0.0.0.0/0")
    route.gateway = SimpleNamespace(id="vpce-0123")
    assert accepted(run, subnets=[private.id]) == {private.id}
    route.destination_cidr_block = "10.0.0.0/8"
    assert private.id in refused(run, subnets=[private.id])


def test_private_subnets_of_the_default_vpc_are_skipped(run, aws, private, monkeypatch):
    chosen = accepted(run)
    assert chosen
    assert private.id not in chosen
    monkeypatch.setattr(aws.main_table(), "_routes", {})
    said = refused(run)
    assert said.startswith(
        "subnets: those of the default VPC of us-east-1 have no route to an internet gateway"
    )
    assert "add a route, name public subnets, or pass public_address=False" in said


def test_private_subnets_are_allowed_for_a_driver_within_the_vpc(run, aws, private, monkeypatch):
    # As the kernel answers on a computer that has an address there.
    monkeypatch.setattr(
        "bigmachine.system.cloud._driver_address.source_address", lambda host: f"{host}7"
    )
    assert accepted(run, subnets=[private.id]) == {private.id}


def test_unreadable_route_tables_are_ignored(run, aws, private):
    aws.refuse("DescribeRouteTables", "UnauthorizedOperation", times=1)
    assert accepted(run, subnets=[private.id]) == {private.id}
    aws.refuse("DescribeRouteTables", "InternalFailure", times=1)
    assert private.id in refused(run, subnets=[private.id])


def test_hidden_main_route_table_of_a_shared_vpc_is_ignored(run, aws, monkeypatch):
    monkeypatch.setattr(aws.main_table(), "main_association_id", None)
    assert accepted(run)


def test_subnet_with_public_access_blocked_is_refused_or_skipped(run, aws):
    subnets = sorted(aws.ec2.describe_subnets(), key=lambda subnet: subnet.availability_zone)
    blocked, other = subnets[0].id, subnets[1].id
    block_public_access(aws, [blocked])
    said = refused(run, subnets=[blocked, other])
    assert said.startswith(f"subnets: {blocked}: the account's VPC Block Public Access keeps the")
    assert "have an administrator exclude them, name other subnets, or pass public_add" in said
    assert accepted(run, subnets=[blocked], public_address=False) == {blocked}
    chosen = accepted(run)
    assert blocked not in chosen
    assert other in chosen
    block_public_access(aws, [subnet.id for subnet in subnets[1:]], mode="block-bidirectional")
    assert "VPC Block Public Access keeps the internet out" in refused(run)


@pytest.mark.parametrize(
    "trait", ["<ipv6Native>true</ipv6Native>", "<outpostArn>arn:aws:outposts:x</outpostArn>"]
)
def test_unusable_subnets_of_the_default_vpc_are_skipped(run, aws, trait):
    subnets = [subnet.id for subnet in aws.ec2.describe_subnets()]
    id = f"<subnetId>{subnets[0]}</subnetId>".encode()
    other = trait.encode()
    aws.edit(
        "DescribeSubnets",
        lambda content: content.replace(b"<ipv6Native>false</ipv6Native>", b"").replace(
            id, id + other
        ),
    )
    chosen = accepted(run)
    assert subnets[0] not in chosen
    assert len(chosen) > 2
    if "ipv6" in trait:
        said = refused(run, subnets=subnets[:2])
        assert said.startswith(f"subnets: {subnets[0]}: IPv6 only, and machines need IPv4")


# -- room in subnets ------------------------------------------------------------------


def leave_addresses(aws, count: int, subnet: str = "subnet-") -> None:
    """Have so many private addresses be free in the subnets whose ids begin so."""
    pattern = rf"(<subnetId>{subnet}(?:(?!<subnetId>).)*?<availableIpAddressCount>)\d+".encode()
    free = rb"\g<1>%d" % count
    aws.edit("DescribeSubnets", lambda content: re.sub(pattern, free, content, flags=re.DOTALL))


def test_subnets_without_a_free_address_are_refused_before_anything_is_created(run, aws):
    leave_addresses(aws, 0)

    async def test(kit):
        with pytest.raises(StartError, match="subnets: no private address is free in subnet-"):
            await kit.setup()

    run(test)
    assert not aws.count("CreateSecurityGroup")


def test_more_machines_than_free_addresses_is_a_warning(run, aws, one_offer, caplog):
    leave_addresses(aws, 1)

    async def test(kit):
        await kit.start(1)
        assert "free" not in caplog.text
        await kit.system.start(2, kit.request)
        assert "2 machines are more than the subnets have room for: 1 private" in caplog.text

    run(test, **one_offer)
