"""Instances are launched in the user's order, and are named and tagged on creation."""

from __future__ import annotations

import base64
import gzip
import logging
import sys

import pytest
import trio

from bigmachine.errors import StartError, UsageError
from bigmachine.system import Instance
from bigmachine_ec2.options._tags import tag_value
from tests.support.aws.names import TYPE
from tests.support.waiting import eventually

SPOT, ON_DEMAND = f"spot {TYPE}", f"on-demand {TYPE}"
ZONES = ("a", "b", "c", "d", "f")


def test_machines_of_one_start_are_launched_by_one_request(run, aws):
    async def test(kit):
        instances = await kit.start(5)
        names = [f"m{i}.test-0123abcd.bigmachine" for i in range(5)]
        assert [i.name for i in instances] == names
        assert len({i.address for i in instances}) == len({i.id for i in instances}) == 5
        assert {i.zone for i in instances} == {"us-east-1a"}
        assert all(i.address.endswith(".amazonaws.com:7443") for i in instances)
        assert instances[0].details["instance_type"] == TYPE
        assert instances[0].details["market"] == "spot"
        assert aws.count("CreateFleet") == 1
        assert aws.count("RunInstances") == 0

    run(test)


def test_single_offer_is_launched_by_run_instances(run, aws, one_offer):
    async def test(kit):
        assert len(await kit.start(5)) == 5
        assert aws.count("RunInstances") == 1
        assert aws.count("CreateFleet") == aws.count("CreateLaunchTemplate") == 0

    run(test, **one_offer)


def test_powered_off_instance_is_terminated_with_its_disks(run, aws, one_offer):
    async def test(kit):
        await kit.start()
        [vm] = aws.instances()
        assert vm.instance_initiated_shutdown_behavior == "terminate"
        assert vm.metadata_options.http_tokens == "required"
        [request] = aws.requests("RunInstances")
        assert request["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
        assert request["BlockDeviceMapping.1.Ebs.VolumeSize"] == "20"
        assert request["BlockDeviceMapping.1.DeviceName"] == "/dev/xvda"
        assert request["NetworkInterface.1.DeleteOnTermination"] == "true"
        script = gzip.decompress(base64.b64decode(request["UserData"]))
        assert script.startswith(b"#cloud-boothook\n")
        assert b'"contact_seconds": 300.0, "silence_seconds": 120.0' in script

    run(test, **one_offer)


def test_all_resources_are_tagged_on_creation(run, aws, one_offer, monkeypatch):
    monkeypatch.setenv("LOGNAME", "me\\my\n domain")
    monkeypatch.setattr(sys, "argv", ["/home/train.py", "--secret", "hunter2"])

    async def test(kit):
        await kit.start(2)
        [request] = aws.requests("RunInstances")
        specifications = {
            request[f"TagSpecification.{n}.ResourceType"]: {
                request[f"TagSpecification.{n}.Tag.{i}.Key"]: request[
                    f"TagSpecification.{n}.Tag.{i}.Value"
                ]
                for i in range(1, 20)
                if f"TagSpecification.{n}.Tag.{i}.Key" in request
            }
            for n in range(1, 4)
        }
        assert set(specifications) == {"instance", "volume", "network-interface"}
        for tags in specifications.values():
            assert tags["bigmachine:session"] == "test-0123abcd.bigmachine"
            assert tags["bigmachine:request"] == request["ClientToken"]
            assert tags["team"] == "ml"
            assert tags["empty"] == ""
            assert tags["bigmachine:user"] == "me_my domain"
            assert tags["bigmachine:command"] == "train.py --secret"
            own = {f"bigmachine:{key}" for key in ("session", "host", "started")}
            assert {"Name", "bigmachine:driver", *own} <= set(tags)
        [group] = aws.requests("CreateSecurityGroup")
        assert "bigmachine:session" in group.values()

    run(test, tags=["team=ml", "empty="], **one_offer)


def test_user_and_program_are_left_out_of_tags_on_demand(run, aws, one_offer):
    async def test(kit):
        await kit.start()
        [request] = aws.requests("RunInstances")
        assert not {"bigmachine:user", "bigmachine:command"} & {*request.values()}

    run(test, detailed_tags=False, **one_offer)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.py --lr=0.1 +x @y a:b/c", "train.py --lr=0.1 +x @y a:b/c"),
        ("Zoë's\tprogram\n\x00\udcff", "Zoë_s program __"),
        ("x" * 300, "x" * 256),
    ],
)
def test_tag_values_have_only_what_aws_allows(text, value):
    assert tag_value(text) == value


def test_instance_options_are_in_the_request(run, aws):
    aws.ec2.create_key_pair("laptop", "ed25519", tags=[])
    vpc = aws.ec2.get_default_vpc()
    subnet = next(s for s in aws.ec2.describe_subnets() if s.availability_zone == "us-east-1c")
    group = aws.ec2.create_security_group("mine", "mine", vpc_id=vpc.id)
    aws.groups_at_first.add(group.id)

    async def test(kit):
        [instance] = await kit.start()
        [request] = aws.requests("RunInstances")
        assert request["KeyName"] == "laptop"
        assert request["NetworkInterface.1.SecurityGroupId.1"] == group.id
        assert request["NetworkInterface.1.SubnetId"] == subnet.id
        assert request["NetworkInterface.1.AssociatePublicIpAddress"] == "false"
        assert request["BlockDeviceMapping.1.Ebs.VolumeSize"] == "100"
        # Else the account's default decides, and refuses tags whose keys have a space or a slash.
        assert request["MetadataOptions.InstanceMetadataTags"] == "disabled"
        assert b'"lifetime_seconds": 3600.0' in gzip.decompress(
            base64.b64decode(request["UserData"])
        )
        assert instance.address == f"{aws.instances()[-1].private_ip}:7443"
        assert instance.zone == "us-east-1c"
        assert aws.count("CreateSecurityGroup") == 0

    try:
        run(
            test,
            market="on-demand",
            key_pair="laptop",
            subnets=[subnet.id],
            security_groups=[group.id],
            public_address=False,
            disk=100,
            lifetime=3600,
        )
    finally:
        aws.ec2.delete_key_pair("laptop")
        aws.ec2.delete_security_group(group_id=group.id)
        aws.groups_at_first.remove(group.id)


@pytest.mark.parametrize(
    ("profile", "key"),
    [("worker", "Name"), ("arn:aws:iam::123456789012:instance-profile/worker", "Arn")],
)
def test_instance_profile_is_given_by_name_or_arn(run, aws, profile, key):
    async def test(kit):
        with pytest.raises(UsageError, match=r"instance_profile: .*worker"):
            await kit.setup()
        [request] = [parameters for action, parameters in aws.asked if action == "RunInstances"]
        assert request[f"IamInstanceProfile.{key}"] == profile

    aws.refuse(
        "RunInstances",
        "InvalidParameterValue",
        "Value (worker) for parameter iamInstanceProfile.name is invalid. "
        "Invalid IAM Instance Profile name",
    )
    run(test, instance_profile=profile)


@pytest.mark.usefixtures("consistent")
def test_missing_capacity_of_one_zone_comes_from_the_next(run, aws):
    async def test(kit):
        instances = await kit.start(7)
        assert [i.zone[-1] for i in instances] == list("aabbbcc")
        assert [i.name[:2] for i in instances] == [f"m{i}" for i in range(7)]
        assert {i.name: i.id for i in instances} == {
            i.name: i.id for i in await kit.system.instances() if i.details["kind"] == "instance"
        }

    aws.capacity = {f"{SPOT} us-east-1a": 2, f"{SPOT} us-east-1b": 3}
    run(test)


def test_missing_capacity_of_the_only_zone_is_reported(run, aws, one_offer, caplog):
    async def test(kit):
        assert len(await kit.start(3)) == 2
        assert "on-demand c7i.large in us-east-1a: InsufficientInstanceCapacity" in caplog.text

    aws.capacity = {f"{ON_DEMAND} us-east-1a": 2}
    run(test, **one_offer)


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize("way", ["fleet", pytest.param("run", marks=pytest.mark.long)])
@pytest.mark.parametrize("count", [40, pytest.param(130, marks=pytest.mark.long)])
def test_many_machines_need_few_requests_and_are_listed_by_name(run, aws, one_offer, way, count):
    async def test(kit):
        instances = await kit.start(count)
        assert [i.name.partition(".")[0] for i in instances] == [f"m{i}" for i in range(count)]
        assert aws.count("RunInstances") + aws.count("CreateFleet") == 1
        for request in aws.requests("CreateTags"):
            assert len(request["Tag.1.Value"]) <= 256
        assert aws.count("CreateTags") < count / 13
        assert aws.count("DescribeInstances") < 20
        listed = {i.id: i.name for i in await kit.system.instances()}
        assert {i.id: i.name for i in instances}.items() <= listed.items()
        await kit.system.shutdown()
        assert aws.count("TerminateInstances") <= 5

    run(test, **(one_offer if way == "run" else {}))


@pytest.mark.usefixtures("consistent")
def test_unnamed_instance_is_listed_by_its_id(run, aws, caplog):
    async def test(kit):
        [instance] = await kit.start()
        assert "by their ids" in caplog.text
        listed = {i.id: i.name for i in await kit.system.instances()}
        assert listed[instance.id] == f"{instance.id}.test-0123abcd.bigmachine"
        await kit.system.stop(Instance(instance.name, ""))
        assert [vm.state for vm in aws.instances()] == ["terminated"]

    aws.refuse("CreateTags", "UnauthorizedOperation", status=403)
    run(test)


@pytest.mark.usefixtures("consistent")
def test_instance_not_yet_found_is_named_after_retries(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        assert instance.name in {i.name for i in await kit.system.instances()}
        assert aws.count("CreateTags") == 3

    aws.refuse(
        "CreateTags",
        "InvalidInstanceID.NotFound",
        lambda parameters: f"The instance ID '{parameters['ResourceId.1']}' does not exist",
        times=2,
    )
    run(test)


def test_fewer_machines_than_requested_is_a_warning_with_every_error(run, aws, caplog):
    async def test(kit):
        with caplog.at_level(logging.WARNING, "bigmachine.ec2"):
            assert len(await kit.start(3)) == 2
        assert "InsufficientInstanceCapacity" in caplog.text
        assert "on-demand c7i.large in us-east-1a" in caplog.text

    places = [f"{market} us-east-1{zone}" for market in (SPOT, ON_DEMAND) for zone in ZONES]
    aws.capacity = dict.fromkeys(places, 0) | {f"{ON_DEMAND} us-east-1f": 2}
    run(test)


def test_no_machine_is_an_error_with_every_attempt(run, aws):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.start()
        text = str(caught.value)
        assert (
            "spot c7i.large in us-east-1a, us-east-1b, us-east-1c, us-east-1d, us-east-1f: "
            "InsufficientInstanceCapacity: We currently do not have sufficient capacity" in text
        )
        assert "on-demand c7i.large in us-east-1a" in text
        assert "Name other types or subnets" in text

    aws.capacity = {f"{market} us-east-1{z}": 0 for market in (SPOT, ON_DEMAND) for z in ZONES}
    run(test)


def test_used_up_spot_quota_ends_that_market(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        assert instance.details["market"] == "on-demand"
        assert aws.count("CreateFleet") == 2

    def refuse(place, count):
        if place.startswith("spot"):
            return "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"
        return None

    aws.refuse_pool = refuse
    run(test)


LIMIT = "You have requested more vCPU capacity than your current vCPU limit of 6 allows"


@pytest.mark.parametrize("way", ["fleet", "run"])
def test_quota_for_some_machines_launches_those(run, aws, one_offer, way):
    async def test(kit):
        instances = await kit.start(7)
        assert len(instances) == 3
        assert [i.name[:2] for i in instances] == ["m0", "m1", "m2"]

    def exceeds(count):
        return sum(vm.state != "terminated" for vm in aws.instances()) + count > 3

    aws.refuse_pool = lambda _, count: ("VcpuLimitExceeded", LIMIT) if exceeds(count) else None
    aws.refuse(
        "RunInstances",
        "VcpuLimitExceeded",
        LIMIT,
        times=99,
        when=lambda p: p.get("ClientToken") and exceeds(int(p["MaxCount"])),
    )
    run(test, **(one_offer if way == "run" else {"market": "on-demand"}))


@pytest.mark.parametrize("way", ["fleet", "run"])
def test_used_up_quota_error_says_how_to_increase_it(run, aws, one_offer, way):
    async def test(kit):
        with pytest.raises(StartError, match=r"VcpuLimitExceeded(.|\n)*Service Quotas"):
            await kit.start(4)

    aws.refuse_pool = lambda place, count: ("VcpuLimitExceeded", "limit of 0")
    aws.refuse("RunInstances", "VcpuLimitExceeded", "limit of 0", times=99)
    run(test, **(one_offer if way == "run" else {"market": "on-demand"}))


def test_credentials_expiring_during_launch_keep_the_launched_instances(run, aws, caplog):
    async def test(kit):
        system = await kit.setup()
        aws.refuse("CreateFleet", "RequestExpired", when=is_second, times=9)
        assert len(await system.start(3, kit.request)) == 2
        assert aws.count("CreateFleet") == 2
        assert "RequestExpired" in caplog.text

    def is_second(parameters):
        return parameters["TargetCapacitySpecification.TotalTargetCapacity"] == "1"

    aws.capacity = dict.fromkeys([f"{SPOT} us-east-1{zone}" for zone in ZONES], 0)
    aws.capacity[f"{SPOT} us-east-1b"] = 2
    run(test)


WAYS = [("CreateFleet", False), ("RunInstances", True)]


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize(("action", "is_one"), WAYS)
def test_error_that_applies_to_all_zones_is_reported_at_once(run, aws, one_offer, action, is_one):
    async def test(kit):
        system = await kit.setup()
        aws.refuse(action, "InvalidSubnetID.NotFound", "The subnet ID does not exist")
        with pytest.raises(UsageError, match="subnets: .* AWS answered InvalidSubnetID.NotFound"):
            await system.start(1, kit.request)
        assert aws.count(action) == 1

    run(test, **(one_offer if is_one else {}))


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize(("action", "is_one"), WAYS)
def test_request_with_a_lost_response_launches_nothing_twice(run, aws, one_offer, action, is_one):
    async def test(kit):
        system = await kit.setup()
        aws.lose_answer(action, times=2)
        instances = await system.start(2, kit.request)
        assert len(instances) == len(aws.instances()) == 2
        assert len({r["ClientToken"] for r in aws.requests(action)}) == 1

    run(test, **(one_offer if is_one else {}))


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize(("action", "is_one"), WAYS)
def test_instances_of_a_request_without_response_are_used(run, aws, one_offer, action, is_one):
    async def test(kit):
        system = await kit.setup()
        aws.lose_answer(action, times=99)
        instances = await system.start(2, kit.request)
        assert {i.id for i in instances} == {vm.id for vm in aws.instances()}
        assert len(instances) == 2

    run(test, **(one_offer if is_one else {}))


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize(("action", "is_one"), WAYS)
def test_market_after_a_lost_response_gets_only_what_is_missing(
    run, aws, one_offer, action, is_one
):
    """The answer that is not lost, for a repeated request, is that there is no capacity left."""

    async def test(kit):
        system = await kit.setup()
        aws.lose_answer(action)
        aws.refuse(action, "InsufficientInstanceCapacity", status=500)
        instances = await system.start(2, kit.request)
        assert {i.id for i in instances} == {vm.id for vm in aws.instances()}
        assert len(instances) == 2
        assert len({r["ClientToken"] for r in aws.requests(action)}) == 1

    run(test, **(one_offer if is_one else {}))


@pytest.mark.usefixtures("consistent")
def test_nothing_else_is_tried_if_a_lost_purchase_cannot_be_looked_up(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.lose_answer("CreateFleet", times=1)
        aws.refuse("CreateFleet", "InsufficientInstanceCapacity", status=500, times=1)
        aws.refuse("DescribeInstances", "Unavailable", status=503, times=8)
        with pytest.raises(StartError):
            await system.start(2, kit.request)
        assert len({r["ClientToken"] for r in aws.requests("CreateFleet")}) == 1
        assert [vm.state for vm in aws.instances()] == ["terminated"] * 2

    run(test)


@pytest.mark.usefixtures("consistent")
def test_security_group_whose_response_was_lost_is_found(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.lose_answer("CreateSecurityGroup")
        aws.lose_answer("AuthorizeSecurityGroupIngress")
        await system.start(1, kit.request)
        assert len([i for i in await system.instances() if i.id.startswith("sg-")]) == 1

    run(test)


@pytest.mark.parametrize(("action", "is_one"), WAYS)
def test_new_security_group_not_yet_found_is_awaited(run, aws, one_offer, action, is_one):
    """AuthorizeSecurityGroupIngress finds it the third time, and so do the later requests."""

    async def test(kit):
        system = await kit.setup()
        aws.replicas.miss("groups", times=2)
        await system.start(1, kit.request)
        assert aws.count("AuthorizeSecurityGroupIngress") == 3
        aws.replicas.miss("groups", times=2)
        await system.start(1, kit.request)
        assert aws.count(action) == 4
        assert aws.count("CreateSecurityGroup") == 1
        aws.replicas.miss("groups", times=2)
        await system.shutdown()
        assert aws.leftovers() == []

    run(test, **(one_offer if is_one else {}))


def test_security_group_whose_response_never_comes_is_used(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.lose_answer("CreateSecurityGroup", times=99)
        await system.start(1, kit.request)
        assert len({r["GroupName"] for r in aws.requests("CreateSecurityGroup")}) == 1

    run(test)


def test_throttled_requests_are_retried(run, aws):
    async def test(kit):
        for action in ("CreateFleet", "DescribeInstances", "TerminateInstances"):
            aws.refuse(action, "RequestLimitExceeded", status=503, times=2)
        system = await kit.setup()
        assert len(await system.start(1, kit.request)) == 1
        await system.shutdown()

    run(test)


def test_instance_not_yet_found_is_awaited(run, aws):
    async def test(kit):
        aws.replicas.miss("instances", times=3)
        [instance] = await kit.start()
        assert instance.address

    run(test)


def test_instance_that_ends_at_once_is_an_error_with_its_reason(run, aws):
    async def test(kit):
        system = await kit.setup()
        aws.answers_until_running = 2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_interrupt_first, aws)
            with pytest.raises(StartError, match="m0.*EC2 interrupted the spot instance"):
                await system.start(1, kit.request)

    run(test)


async def _interrupt_first(aws):
    [id] = await eventually(lambda: [*aws._pending])
    del aws._pending[id]
    aws.interrupt(id)
