"""Fleets: EC2 chooses types and subnets in the user's order, and no launch template is left."""

from __future__ import annotations

import base64
import gzip
import logging

import pytest
import trio

from bigmachine.errors import StartError
from bigmachine_ec2.catalog._images import Image
from bigmachine_ec2.catalog._instance_types import InstanceType
from bigmachine_ec2.plan._offers import Offer, fleet_groups
from bigmachine_ec2.resources._network import Subnet
from tests.support.aws.many import Many
from tests.support.aws.names import TYPE
from tests.support.waiting import eventually

ZONES = ("a", "b", "c", "d", "f")


def places(*kinds, market="spot", zones=ZONES):
    return [f"{market} {kind} us-east-1{zone}" for kind in kinds for zone in zones]


def overrides(aws, request):
    """Return the type, zone and priority of each override, by the configuration."""
    found = []
    for config in range(1, 9):
        for n in range(1, 99):
            key = f"LaunchTemplateConfigs.{config}.Overrides.{n}."
            if key + "InstanceType" in request:
                subnet = aws.ec2.get_subnet(request[key + "SubnetId"])
                kind, zone = request[key + "InstanceType"], subnet.availability_zone[-1]
                found.append((float(request[key + "Priority"]), kind, zone))
    return found


def tags_of(aws, id):
    return {tag["key"]: tag["value"] for tag in aws.ec2.describe_tags({"resource-id": [id]})}


# -- what is asked for ----------------------------------------------------------------


def test_fleet_has_all_types_and_zones_of_a_market_in_the_users_order(run, aws):
    async def test(kit):
        await kit.start()
        spot, on_demand = aws.requests("CreateFleet")
        expected = [(kind, zone) for kind in ("c7i.large", "c6i.large") for zone in ZONES]
        for request in (spot, on_demand):
            asked = overrides(aws, request)
            assert [(kind, zone) for _, kind, zone in sorted(asked)] == expected
            assert len({priority for priority, *_ in asked}) == len(asked)
            assert request["Type"] == "instant"
        target = "TargetCapacitySpecification.DefaultTargetCapacityType"
        assert (spot[target], on_demand[target]) == ("spot", "on-demand")
        assert spot["SpotOptions.AllocationStrategy"] == "capacity-optimized-prioritized"
        assert spot["SpotOptions.InstanceInterruptionBehavior"] == "terminate"
        assert on_demand["OnDemandOptions.AllocationStrategy"] == "prioritized"
        assert spot["ClientToken"] != on_demand["ClientToken"]

    aws.capacity = dict.fromkeys(places("c7i.large", "c6i.large"), 0)
    run(test, instance_type=["c7i.large", "c6i.large"])


def test_missing_capacity_of_one_type_comes_from_the_next(run, aws):
    async def test(kit):
        instances = await kit.start(6)
        assert [(i.details["instance_type"], i.zone[-1]) for i in instances] == [
            ("c7i.large", "b"),
            ("c7i.large", "d"),
            ("c7i.large", "d"),
            ("c6i.large", "a"),
            ("c6i.large", "a"),
            ("c6i.large", "a"),
        ]
        assert {i.details["market"] for i in instances} == {"spot"}
        assert aws.count("CreateFleet") == 1

    aws.capacity = dict.fromkeys(places("c7i.large"), 0)
    aws.capacity["spot c7i.large us-east-1b"] = 1
    aws.capacity["spot c7i.large us-east-1d"] = 2
    run(test, instance_type=["c7i.large", "c6i.large"])


def test_second_subnet_of_a_zone_goes_to_another_fleet(run, aws):
    vpc = aws.ec2.get_default_vpc()
    first = {s.availability_zone: s.id for s in aws.ec2.describe_subnets()}
    second = aws.ec2.create_subnet(vpc.id, "172.31.240.0/24", "us-east-1a")

    async def test(kit):
        aws.refuse_pool = refuse
        instances = await kit.start(2)
        one, two = aws.requests("CreateFleet")
        assert [zone for *_, zone in overrides(aws, one)] == ["a", "b"]
        assert [zone for *_, zone in overrides(aws, two)] == ["a"]
        used = {vm.subnet_id for vm in aws.instances()}
        assert used == {second.id}
        assert {i.zone for i in instances} == {"us-east-1a"}

    def refuse(place, count):
        if aws.count("CreateFleet") == 1:
            return "InsufficientFreeAddressesInSubnet", "the subnet is full"
        return None

    subnets = [first["us-east-1a"], second.id, first["us-east-1b"]]
    try:
        run(test, subnets=subnets, market="spot")
    finally:
        aws.clear()
        aws.ec2.delete_subnet(second.id)


def test_many_offers_go_to_several_fleets():
    image = Image("ami-1", "", "x86_64", "/dev/sda1", 8)
    nowhere: frozenset[str] = frozenset()
    kinds = [InstanceType(f"t{n}", 2, 1 << 30, "x86_64", nowhere, nowhere) for n in range(99)]
    subnets = [Subnet(f"subnet-{zone}", zone) for zone in "abcdef"]
    offers = [Offer("spot", kind, image, subnet) for kind in kinds for subnet in subnets]
    groups = [*fleet_groups(offers)]
    assert [len(group) for group in groups] == [300, 294]
    assert [offer for group in groups for offer in group] == offers


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_fleet_instance_has_the_same_settings_as_any_other(run, aws, market):
    async def test(kit):
        await kit.start()
        [vm] = aws.instances()
        assert vm.instance_initiated_shutdown_behavior == "terminate"
        assert vm.metadata_options.http_tokens == "required"
        script = gzip.decompress(base64.b64decode(str(vm.user_data)))
        assert script.startswith(b"#cloud-boothook\n")
        [disk] = vm.block_device_mapping.values()
        assert (disk.size, disk.delete_on_termination) == (30, True)
        assert aws.ec2.volumes[disk.volume_id].volume_type == "gp3"
        groups = {group.name for nic in vm.nics.values() for group in nic.group_set}
        assert groups == {"bigmachine-test-0123abcd.bigmachine"}
        assert (vm.lifecycle or "on-demand") == market
        tags, of_disk = tags_of(aws, vm.id), tags_of(aws, disk.volume_id)
        assert of_disk["bigmachine:session"] == "test-0123abcd.bigmachine"
        assert of_disk["team"] == "ml"
        assert tags["bigmachine:session"] == "test-0123abcd.bigmachine"
        [request] = aws.requests("CreateFleet")
        assert tags["bigmachine:request"] == request["ClientToken"]
        assert {"Name", "bigmachine:host", "bigmachine:started"} <= set(tags)

    run(test, market=market, disk=30, tags=["team=ml"])


def test_template_and_fleet_are_tagged_on_creation(run, aws):
    async def test(kit):
        await kit.start()
        [template] = aws.requests("CreateLaunchTemplate")
        [fleet] = aws.requests("CreateFleet")
        assert template["TagSpecification.1.ResourceType"] == "launch-template"
        inner = "LaunchTemplateData.TagSpecification."
        kinds = {v for k, v in template.items() if k.startswith(inner) and k.endswith("Type")}
        assert kinds == {"network-interface", "spot-instances-request"}
        kinds = {v for k, v in fleet.items() if k.startswith("Tag") and k.endswith("ResourceType")}
        assert kinds == {"fleet", "instance", "volume"}
        for request in (template, fleet):
            keys = [v for k, v in request.items() if k.endswith(".Key")]
            specifications = [k for k in request if k.endswith("ResourceType")]
            assert keys.count("bigmachine:session") == len(specifications)

    run(test)


def test_fleet_respects_max_price(run, aws):
    async def test(kit):
        await kit.start()
        [request] = aws.requests("CreateFleet")
        prices = [v for k, v in request.items() if k.endswith("MaxPrice")]
        assert prices == ["0.051000"] * len(ZONES)

    run(test, market="spot", max_price=0.051)


def test_one_fleet_has_types_of_both_architectures_with_their_images(run, aws):
    async def test(kit):
        instances = await kit.start(3)
        kinds = ["c7g.large", "c7i.large", "c7i.large"]
        assert [i.details["instance_type"] for i in instances] == kinds
        images = [aws.ec2.amis[vm.image_id].architecture for vm in aws.instances()]
        assert images == ["arm64", "x86_64", "x86_64"]
        [request] = aws.requests("CreateFleet")
        assert [kind for _, kind, _ in sorted(overrides(aws, request))] == [
            *["c7g.large"] * 5,
            *["c7i.large"] * 5,
        ]
        assert aws.count("CreateLaunchTemplate") == 2

    aws.capacity = dict.fromkeys(places("c7g.large", market="on-demand"), 0)
    aws.capacity["on-demand c7g.large us-east-1c"] = 1
    run(test, instance_type=["c7g.large", "c7i.large"], market="on-demand")


# -- when there is too little ---------------------------------------------------------


@pytest.mark.usefixtures("consistent")
def test_missing_spot_capacity_is_launched_on_demand(run, aws, caplog):
    async def test(kit):
        instances = await kit.start(5)
        assert [i.details["market"] for i in instances] == ["spot"] * 3 + ["on-demand"] * 2
        assert [i.name[:2] for i in instances] == [f"m{i}" for i in range(5)]
        listed = {i.id: i.name for i in await kit.system.instances()}
        assert {i.id: i.name for i in instances}.items() <= listed.items()
        assert f"spot {TYPE} in us-east-1a, us-east-1b" in caplog.text

    aws.capacity = dict.fromkeys(places(TYPE), 0) | {f"spot {TYPE} us-east-1b": 3}
    run(test)


def test_failed_start_lists_every_attempt(run, aws):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.start(4)
        text = str(caught.value)
        zones = "us-east-1a, us-east-1b, us-east-1c, us-east-1d, us-east-1f"
        short = "InsufficientInstanceCapacity: We currently do not have sufficient capacity"
        for line in (
            f"spot c7i.large in {zones}: {short}",
            f"spot g4dn.xlarge in {zones}: MaxSpotInstanceCountExceeded: Max spot instance",
            f"on-demand c7i.large in {zones}: {short}",
            f"on-demand g4dn.xlarge in {zones}: VcpuLimitExceeded: your current vCPU limit of 0",
        ):
            assert line in text
        assert "request a quota increase" in text

    def refuse(place, count):
        if "g4dn" not in place:
            return None
        if place.startswith("spot"):
            return "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"
        return "VcpuLimitExceeded", "your current vCPU limit of 0"

    short = [place for market in ("spot", "on-demand") for place in places(TYPE, market=market)]
    aws.capacity = dict.fromkeys(short, 0)
    aws.refuse_pool = refuse
    run(test, instance_type=["c7i.large", "g4dn.xlarge"])


def test_last_error_does_not_hide_earlier_ones(run, aws):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.start()
        assert "may not call ec2:RunInstances" in str(caught.value)
        assert f"spot {TYPE} in us-east-1a" in str(caught.value)

    aws.capacity = dict.fromkeys(places(TYPE), 0)
    aws.refuse_pool = lambda place, count: (
        None if place.startswith("spot") else ("UnauthorizedOperation", "You are not authorized")
    )
    run(test)


def test_error_of_one_type_does_not_stop_the_launch(run, aws):
    async def test(kit):
        instances = await kit.start(2)
        assert {i.details["instance_type"] for i in instances} == {"c6i.large"}
        assert [i.details["market"] for i in instances] == ["spot", "on-demand"]

    aws.capacity = dict.fromkeys(places("c6i.large"), 0) | {"spot c6i.large us-east-1a": 1}
    aws.refuse_pool = lambda place, count: (
        ("InvalidParameterCombination", "not with this type") if "c7i" in place else None
    )
    run(test, instance_type=["c7i.large", "c6i.large"])


def test_throttled_pools_are_retried_for_the_rest(run, aws):
    async def test(kit):
        instances = await kit.start(5)
        assert {i.details["market"] for i in instances} == {"spot"}
        assert aws.count("CreateFleet") == 2
        targets = [
            request["TargetCapacitySpecification.TotalTargetCapacity"]
            for request in aws.requests("CreateFleet")
        ]
        assert targets == ["5", "3"]

    def refuse(place, count):
        if aws.count("CreateFleet") == 1 and count < 5:
            return "RequestLimitExceeded", "Request limit exceeded."
        return None

    aws.capacity = {f"spot {TYPE} us-east-1a": 2}
    aws.refuse_pool = refuse
    run(test)


# -- what a fleet needs is gone afterwards --------------------------------------------


def templates(aws):
    return [template.name for template in aws.ec2.launch_templates.values()]


def test_no_launch_template_outlives_the_start(run, aws):
    async def test(kit):
        await kit.start(2)
        assert aws.count("CreateLaunchTemplate") == 2
        assert templates(aws) == []

    aws.capacity = dict.fromkeys(places(TYPE), 0)
    run(test)


def test_no_launch_template_outlives_a_start_that_fails(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.refuse("CreateFleet", "InvalidParameterValue", "of a kind")
        with pytest.raises(StartError, match="of a kind"):
            await system.start(1, kit.request)
        assert templates(aws) == []

    run(test)


@pytest.mark.usefixtures("consistent")
def test_no_launch_template_outlives_a_start_that_is_cancelled(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.gate.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, 3, kit.request)
            await eventually(aws.held.is_set)
            nursery.cancel_scope.cancel()
            aws.gate.set()
        assert templates(aws) == []
        assert [vm.state for vm in aws.instances()] == ["terminated"] * 3

    run(test)


def test_template_whose_response_was_lost_is_created_once_and_deleted(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.lose_answer("CreateLaunchTemplate", times=2)
        await system.start(1, kit.request)
        assert len({r["ClientToken"] for r in aws.requests("CreateLaunchTemplate")}) == 1
        assert templates(aws) == []

    run(test)


def test_template_with_unknown_outcome_is_deleted(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.lose_answer("CreateLaunchTemplate", times=99)
        with pytest.raises(StartError, match="has a fault: .*CreateLaunchTemplate: AWS answered"):
            await system.start(1, kit.request)
        assert aws.count("DeleteLaunchTemplate") == 1
        assert templates(aws) == []

    run(test)


def test_undeletable_template_is_deleted_at_the_end_of_the_session(run, aws, caplog):
    async def test(kit):
        system = await kit.setup()
        aws.refuse("DeleteLaunchTemplate", "InternalFailure", status=500, times=8)
        assert len(await system.start(1, kit.request)) == 1
        assert "a launch template is left" in caplog.text
        assert len(templates(aws)) == 1
        await system.shutdown()
        assert templates(aws) == []

    run(test)


def test_template_not_yet_found_is_retried(run, aws):
    async def test(kit):
        aws.replicas.miss("templates", times=2)
        assert len(await kit.start(2)) == 2
        assert aws.count("CreateFleet") == 3
        assert aws.count("CreateLaunchTemplate") == 1

    run(test, market="spot")


def test_template_never_found_is_an_error(run, aws, caplog):
    async def test(kit):
        aws.replicas.miss("templates", times=8)  # as often as it is tried
        with (
            caplog.at_level(logging.INFO, "bigmachine.ec2"),
            pytest.raises(StartError, match="InvalidLaunchTemplateName"),
        ):
            await kit.start()

    run(test)


# -- thousands ------------------------------------------------------------------------


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize(
    ("count", "page"), [(200, 40), pytest.param(2500, 500, marks=pytest.mark.long)]
)
def test_many_machines_need_few_requests(run, aws, monkeypatch, count, page):
    monkeypatch.setattr("bigmachine_ec2.launch._create_fleet.CreateFleet.max_count", page)
    monkeypatch.setattr("bigmachine_ec2.api._api._PAGE", page)
    many = Many()

    async def test(kit):
        system = await kit.setup()
        many.serve(aws)
        instances = await system.start(count, kit.request)
        assert [i.name for i in instances] == [
            f"m{i}.test-0123abcd.bigmachine" for i in range(count)
        ]
        assert {i.id for i in instances} == set(many.tags)
        assert all(i.address == f"{i.id}.amazonaws.com:7443" for i in instances)
        assert aws.count("CreateFleet") == 5
        assert max(len(tags["bigmachine:machines"]) for tags in many.tags.values()) <= 256
        listed = await kit.other().system.instances()
        assert {i.id: i.name for i in instances} == {
            i.id: i.name for i in listed if i.details["kind"] == "instance"
        }
        asked = [name for name, _ in aws.asked]
        await system.shutdown()
        assert many.terminated == set(many.tags)
        assert many.longest == page  # of pages that follow one another
        assert asked.count("CreateTags") < count / 19
        assert asked.count("DescribeInstances") < 40
        assert aws.count("TerminateInstances") < 20
        assert aws.count("DescribeInstances") < 80

    run(test)
