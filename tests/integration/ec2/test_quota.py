"""Quotas are read if that is permitted; a quota below one machine is an error at once."""

from __future__ import annotations

import logging

import pytest

from bigmachine.errors import StartError
from bigmachine_ec2.catalog._images import Image
from bigmachine_ec2.catalog._instance_types import InstanceType
from bigmachine_ec2.plan._offers import Offer
from bigmachine_ec2.plan._quota import Quota, check_quotas, quota_code
from bigmachine_ec2.resources._network import Subnet

ON_DEMAND, SPOT = "L-1216C47A", "L-34B43A08"
SPOT_G = "L-3819A6DF"
CREATES = ("CreateSecurityGroup", "CreateLaunchTemplate", "CreateFleet", "RunInstances")


def offer(kind, market):
    everywhere = frozenset({"us-east-1a"})
    wanted = InstanceType(kind, 2, 1 << 33, "x86_64", frozenset({market}), everywhere)
    image = Image("ami-1", "image", "x86_64", "/dev/xvda", 8)
    return Offer(market, wanted, image, Subnet("subnet-1", "us-east-1a"))


@pytest.mark.parametrize(
    ("kind", "on_demand", "spot"),
    [
        ("c7i.large", ON_DEMAND, SPOT),
        ("im4gn.large", ON_DEMAND, SPOT),
        ("t4g.small", ON_DEMAND, SPOT),
        ("dl1.24xlarge", "L-6E869C2A", "L-85EED4F7"),
        ("d3.xlarge", ON_DEMAND, SPOT),
        ("f2.6xlarge", "L-74FC7D96", "L-88CF9481"),
        ("g4dn.xlarge", "L-DB2E81BA", SPOT_G),
        ("vt1.3xlarge", "L-DB2E81BA", SPOT_G),
        ("hpc7a.12xlarge", "L-F7808C92", ""),
        ("inf2.xlarge", "L-1945791B", "L-B5D1601B"),
        ("p4d.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", ""),
        ("trn1.2xlarge", "L-2C3B7624", "L-6B0D517C"),
        ("u-6tb1.56xlarge", "L-43DA4232", ""),
        ("x2gd.medium", "L-7295265B", "L-E3A00192"),
        ("mac2.metal", "", ""),
    ],
)
def test_each_instance_family_has_its_quota(kind, on_demand, spot):
    assert quota_code(offer(kind, "on-demand")) == on_demand
    assert quota_code(offer(kind, "spot")) == spot


@pytest.mark.parametrize("vcpus", [0.0, 3.0])
def test_quota_below_one_machine_is_refused_before_anything_is_created(run, aws, vcpus):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.setup()
        text = str(caught.value)
        assert "quota does not allow a single g4dn.xlarge in us-east-1" in text
        assert f"the name of {SPOT_G} ({SPOT_G}): {vcpus:g} vCPUs" in text
        assert "Request a quota increase (Service Quotas" in text

    aws.quotas = {SPOT_G: vcpus}
    run(test, instance_type="g4dn.xlarge", market="spot")
    assert not any(aws.count(action) for action in CREATES)


@pytest.mark.parametrize(
    "quotas", [{SPOT: 0.0, ON_DEMAND: 2.0}, {SPOT: 0.0}, {}], ids=["other", "unknown", "none"]
)
def test_used_up_market_is_no_error_if_another_may_have_quota(run, aws, quotas):
    async def test(kit):
        assert len(await kit.start()) == 1

    aws.quotas = dict(quotas)
    run(test)


def test_offer_that_the_quota_allows_none_of_is_left_out():
    spot, on_demand, unknown = offers = [
        offer("c7i.large", "spot"),
        offer("c7i.large", "on-demand"),
        offer("mac2.metal", "on-demand"),
    ]
    quotas = {
        code: Quota(code, "its quota", vcpus) for code, vcpus in {SPOT: 1, ON_DEMAND: 2}.items()
    }
    assert check_quotas(offers, quotas, region="us-east-1") == (on_demand, unknown)
    assert check_quotas([spot], {}, region="us-east-1") == (spot,)


def test_more_machines_than_the_quota_allows_is_a_warning(run, aws, caplog):
    async def test(kit):
        system = await kit.setup()
        await system.start(3, kit.request)
        assert "quota" not in caplog.text
        await system.start(4, kit.request)
        assert "4 machines are more than the quota allows: the name of" in caplog.text
        assert "4 vCPUs" in caplog.text

    aws.quotas = {SPOT: 2.0, ON_DEMAND: 4.0}
    run(test)


def test_without_quota_permissions_machines_start(run, aws, caplog):
    async def test(kit):
        with caplog.at_level(logging.DEBUG, "bigmachine.ec2"):
            assert len(await kit.start(2)) == 2
        records = [r for r in caplog.records if "quota" in r.getMessage()]
        assert {r.levelno for r in records} == {logging.DEBUG}
        assert any("AccessDeniedException" in r.getMessage() for r in records)

    aws.quotas = {SPOT: 0.0, ON_DEMAND: 0.0}
    aws.refuse("GetServiceQuota", "AccessDeniedException", status=400, times=9)
    run(test)


def test_unresponsive_quota_service_does_not_delay_setup(run, aws, caplog, monkeypatch):
    async def test(kit):
        with caplog.at_level(logging.DEBUG, "bigmachine.ec2"):
            await kit.setup()
        assert "Service Quotas does not respond" in caplog.text

    monkeypatch.setattr("bigmachine_ec2.plan._quota._TIMEOUT", 0.0)
    run(test)
