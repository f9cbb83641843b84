"""What AWS bills beyond the usual price is in the price of machines, or told before they start."""

from __future__ import annotations

import re

import pytest

from bigmachine.errors import StartError
from bigmachine_ec2.catalog import _prices
from tests.support.aws.names import TYPE
from tests.support.aws.prices import EXTRAS, LICENSE, ON_DEMAND, SPOT

RHEL = "<usageOperation>RunInstances:0010</usageOperation>"
PRO = "<usageOperation>RunInstances:0g00</usageOperation>"
MARKETPLACE = (
    "<productCodes><item><productCode>abc</productCode><type>marketplace</type></item>"
    "</productCodes>"
)


def mark(aws, action, tag, more):
    """Have all resources of an action's answers have ``more``, before their ``tag``."""
    at = f"<{tag}>".encode()

    def edit(content):
        element = re.match("<([a-zA-Z]+)>", more)[1]
        plain = re.sub(rf"<{element}>.*?</{element}>|<{element}/>".encode(), b"", content)
        return plain.replace(at, more.encode() + at)

    aws.edit(action, edit)


@pytest.fixture
def dedicated(aws):
    vpc = aws.ec2.get_default_vpc()
    vpc.instance_tenancy = "dedicated"
    yield vpc
    vpc.instance_tenancy = "default"


@pytest.fixture
def local_zone(aws):
    """A subnet of the default VPC in a Local Zone, which sells all types of `TYPE`'s zone f."""
    ec2, zone = aws.ec2, "us-east-1-atl-1a"
    subnet = ec2.create_subnet(
        ec2.get_default_vpc().id, "172.31.240.0/24", availability_zone="us-east-1f"
    )
    id = subnet.id.encode()

    def edit(content):
        pattern = rb"<item>((?:(?!</item>).)*?%b.*?)us-east-1f" % id
        return re.sub(pattern, rb"<item>\1%b" % zone.encode(), content, flags=re.DOTALL)

    aws.edit("DescribeSubnets", edit)
    aws.edit(
        "DescribeInstanceTypeOfferings",
        lambda content: content.replace(b"us-east-1e", zone.encode()).replace(
            b"us-east-1d", zone.encode()
        ),
    )
    yield subnet
    ec2.delete_subnet(subnet.id)


@pytest.mark.parametrize(("market", "price"), [("spot", SPOT), ("on-demand", ON_DEMAND)])
@pytest.mark.usefixtures("consistent")
def test_price_includes_the_licence_of_the_image(run, aws, market, price):
    mark(aws, "DescribeImages", "imageId", RHEL)
    mark(aws, "DescribeInstances", "instanceId", RHEL)

    async def test(kit):
        [instance] = await kit.start()
        assert instance.cost_per_hour == pytest.approx(price + LICENSE + EXTRAS)
        listed = [i for i in await kit.system.instances() if i.details["kind"] == "instance"]
        assert [i.cost_per_hour for i in listed] == [instance.cost_per_hour]

    run(test, market=market)


def test_cost_limit_with_a_licence_of_unknown_price_is_refused(run, aws):
    mark(aws, "DescribeImages", "imageId", PRO)

    async def test(kit):
        with pytest.raises(StartError, match=f"no price in US dollars for {TYPE}"):
            await kit.setup()

    run(test, max_session_cost=1.0)


def test_marketplace_image_is_told_to_cost_more(run, aws, caplog):
    mark(aws, "DescribeImages", "imageId", MARKETPLACE)

    async def test(kit):
        await kit.setup()
        assert "is a product of AWS Marketplace: if its software has a price" in caplog.text

    run(test)


def test_dedicated_tenancy_is_told_and_has_no_price(run, aws, dedicated, caplog):
    mark(aws, "DescribeInstances", "instanceId", RHEL)

    async def test(kit):
        await kit.setup()
        [line] = [r.getMessage() for r in caplog.records if "tenancy" in r.getMessage()]
        assert line.startswith(f"the tenancy of {dedicated.id} is dedicated: machines cost more")
        assert "$2 an hour" in line
        assert {kit.system._prices.per_hour(o) for o in kit.system._plan.offers} == {None}

    run(test)


def test_cost_limit_with_dedicated_tenancy_is_refused(run, aws, dedicated):
    async def test(kit):
        with pytest.raises(StartError, match="max_session_cost: AWS has no price"):
            await kit.setup()

    run(test, max_session_cost=1.0)


def test_burstable_type_is_told_to_cost_more_beyond_its_baseline(run, aws, caplog):
    async def test(kit):
        await kit.setup()
        [line] = [r.getMessage() for r in caplog.records if "$0.05" in r.getMessage()]
        assert line.startswith("instance_type: t3.large, t4g.large: AWS bills about $0.05")
        assert "like m7i.large" in line

    run(test, instance_type=["t3.large", "t2.large", "t4g.large", TYPE])


def test_local_zones_are_used_only_if_named_and_have_no_price(run, aws, local_zone):
    async def by_default(kit):
        await kit.setup()
        zones = {offer.subnet.zone for offer in kit.system._plan.offers}
        assert "us-east-1a" in zones
        assert not any("atl" in zone for zone in zones)

    async def named(kit):
        await kit.setup()
        [offer] = kit.system._plan.offers
        assert offer.subnet.zone == "us-east-1-atl-1a"
        assert kit.system._prices.per_hour(offer) is None

    run(by_default)
    run(named, subnets=[local_zone.id], market="on-demand")


def test_spot_price_is_requested_again_when_it_is_old(run, aws, monkeypatch):
    async def test(kit):
        await kit.setup()
        aws.prices.spot = {f"{TYPE} us-east-1a": 0.2}
        [instance] = await kit.start()
        assert instance.cost_per_hour == pytest.approx(SPOT + EXTRAS)
        monkeypatch.setattr(_prices, "_SPOT_SECONDS", 0.0)
        [instance] = await kit.system.start(1, kit.request)
        assert instance.cost_per_hour == pytest.approx(0.2 + EXTRAS)

    run(test, market="spot")
