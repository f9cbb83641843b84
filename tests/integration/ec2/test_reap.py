"""Leftovers at EC2 are listed by `bigmachine ps` and freed by `bigmachine reap`."""

from __future__ import annotations

import contextlib
import functools
import json

import pytest
import trio

from bigmachine.boot import Driver
from bigmachine.cli import main
from bigmachine.errors import BigmachineError
from bigmachine.system import Instance
from bigmachine_ec2 import Ec2Options, Ec2System
from bigmachine_ec2.options._tags import machines_tags, tag_specifications
from tests.support.aws.names import REGION
from tests.support.drivers import IDLE, driver

DEAD, ALIVE, OTHER = (f"{word}-0123abcd.bigmachine" for word in ("dead", "alive", "other"))
ELSEWHERE = Driver(pid=4711, started=1, place="0123456789abcdef0123", host="gpu-box")


@pytest.fixture(scope="module")
def dead() -> Driver:
    """A driver that was killed."""
    with driver("-c", IDLE) as process:
        return Driver.parse(process.read_line(), host="laptop")


@pytest.fixture
def region(aws, monkeypatch):
    """The emulated region, which `ec2` uses; it is emptied in the end."""
    monkeypatch.setenv("BIGMACHINE_EC2_REGION", REGION)
    monkeypatch.setenv("BIGMACHINE_EC2_ENDPOINT_URL", aws.url)
    yield Region(aws)
    aws.ec2.spot_instance_requests.clear()
    aws.clear()


class Region:
    """A region with the resources of sessions and of other programs."""

    def __init__(self, aws) -> None:
        self.aws = aws
        self.ec2 = aws.ec2

    def fill(self, session: str | None, driver: Driver | None = None, *, machines: int = 2) -> None:
        """Make one of each kind, and a volume that nobody uses; without a session, untagged."""
        import boto3

        tags = {"team": "ml"}
        if session is not None:
            tags |= {
                "bigmachine:session": session,
                "bigmachine:started": "2025-01-31T23:59:59Z",
            }
        if driver is not None:
            tags |= {"bigmachine:driver": str(driver), "bigmachine:host": driver.host}
        name = (session or "nobodys").partition(".")[0]
        with contextlib.closing(
            boto3.client("ec2", region_name=REGION, endpoint_url=self.aws.url)
        ) as ec2:
            made = self._fill(ec2, name, functools.partial(tag_specifications, tags), machines)
            labels = {id: f"m{index}" for index, id in enumerate(made if session else ())}
            for ids, names in machines_tags(labels):
                pairs = [{"Key": key, "Value": value} for key, value in names.items()]
                ec2.create_tags(Resources=ids, Tags=pairs)

    def _fill(self, ec2, name, tagged, machines) -> list[str]:
        """Make them, and return the ids of the instances."""
        group = ec2.create_security_group(
            GroupName=name, Description="a group", TagSpecifications=tagged("security-group")
        )["GroupId"]
        ec2.create_volume(
            AvailabilityZone="us-east-1a", Size=20, TagSpecifications=tagged("volume")
        )
        ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData={"ImageId": "ami-1"},
            TagSpecifications=tagged("launch-template"),
        )
        [request] = ec2.request_spot_instances(
            LaunchSpecification={"ImageId": "ami-1", "InstanceType": "c7i.large"},
            TagSpecifications=tagged("spot-instances-request"),
        )["SpotInstanceRequests"]
        # Moto fulfils it at once; by "Spot request status" it is open until there is capacity.
        asked = self.ec2.spot_instance_requests[request["SpotInstanceRequestId"]]
        asked.state = "open"
        cards = [card.id for card in asked.instance.nics.values()]
        self.aws.interrupt(asked.instance.id)
        for card in cards:
            self.ec2.enis.pop(card, None)
        if not machines:
            return []
        subnets = self.ec2.describe_subnets()
        subnet = next(s for s in subnets if s.availability_zone == "us-east-1a")
        card = {"DeviceIndex": 0, "SubnetId": subnet.id, "DeleteOnTermination": True}
        made = ec2.run_instances(
            ImageId=next(iter(self.ec2.amis)),
            InstanceType="c7i.large",
            MinCount=machines,
            MaxCount=machines,
            NetworkInterfaces=[{**card, "Groups": [group]}],
            TagSpecifications=tagged("instance", "volume"),
        )
        return [vm["InstanceId"] for vm in made["Instances"]]

    @property
    def left(self) -> list[str]:
        """The ids of all that there is, whoever's it is."""
        return sorted([*self.aws.leftovers(), *self.ec2.spot_instance_requests])


def kinds(things):
    return [thing["kind"] for thing in things]


def test_resources_of_all_kinds_are_listed_and_nothing_else(region, dead, capsys):
    region.fill(None)
    region.fill(DEAD, dead, machines=2)
    assert main(["ps", "ec2", "--json"]) == 0
    [session] = json.loads(capsys.readouterr().out)["sessions"]
    assert session["session"] == DEAD
    assert session["driver"]["is_alive"] is False
    assert session["driver"]["pid"] == dead.pid
    assert session["started"] == "2025-01-31T23:59:59+00:00"
    assert kinds(session["resources"]) == (
        ["spot-request"] + ["instance"] * 2 + ["volume"] * 3 + ["security-group", "launch-template"]
    )
    assert {thing["driver"] for thing in session["resources"]} == {str(dead)}
    states = {thing["kind"]: thing.get("state") for thing in session["resources"]}
    assert states["instance"] in ("pending", "running")
    assert states["volume"] in ("available", "in-use")
    assert main(["ps", "ec2"]) == 0
    out = capsys.readouterr().out
    assert "dead-0123abcd on ec2, began" in out
    assert f"driver: pid {dead.pid} of this computer, dead" in out
    assert max(map(len, out.splitlines())) <= 80


def test_nonsense_in_the_tags_of_one_instance_hides_nothing_else(region, dead, capsys):
    region.fill(DEAD, dead, machines=2)
    odd = region.aws.instances()[-1]
    for name in ("port", "driver", "started", "machines"):
        odd.add_tags({f"bigmachine:{name}": "any: thing = here"})
    assert main(["ps", "ec2", "--json"]) == 0
    [session] = json.loads(capsys.readouterr().out)["sessions"]
    assert kinds(session["resources"]).count("instance") == 2
    assert odd.id in {thing["id"] for thing in session["resources"]}


def test_ending_resources_and_fulfilled_spot_requests_are_not_listed(region, monkeypatch, capsys):
    region.fill(DEAD, ELSEWHERE, machines=0)
    monkeypatch.setattr("moto.ec2.models.elastic_block_store.Volume.status", "deleting")
    for request in region.ec2.spot_instance_requests.values():
        request.state = "active"
    assert main(["ps", "ec2", "--json"]) == 0
    [session] = json.loads(capsys.readouterr().out)["sessions"]
    assert kinds(session["resources"]) == ["security-group", "launch-template"]


def test_reap_frees_a_dead_drivers_leftovers_and_nothing_else(region, dead, capsys):
    region.fill(None)
    region.fill(ALIVE, Driver.here())
    region.fill(OTHER, ELSEWHERE)
    before = region.left
    region.fill(DEAD, dead)
    assert main(["reap", "ec2"]) == 0
    assert region.left == before
    out = capsys.readouterr().out
    assert "Freed 8 resources." in out
    assert f"alive-0123abcd on ec2: driver pid {Driver.here().pid} of this computer, alive" in out
    assert "other-0123abcd on ec2: driver pid 4711 on gpu-box, may be alive" in out


def test_reap_frees_another_computers_session_only_with_yes(region, capsys):
    region.fill(OTHER, ELSEWHERE)
    before = region.left
    assert main(["reap", "ec2", "other-0123abcd"]) == 1
    assert region.left == before
    assert "--yes frees it" in capsys.readouterr().err
    assert main(["reap", "ec2", "other-0123abcd", "--yes"]) == 0
    assert region.left == []


def test_leftovers_without_machines_are_freed_after_a_day(region):
    region.fill(OTHER, ELSEWHERE, machines=0)
    assert main(["reap", "ec2"]) == 0
    assert region.left == []


def test_reap_waits_for_instances_that_are_shutting_down(region, dead, capsys):
    region.aws.answers_until_terminated = 3
    region.fill(DEAD, dead, machines=1)
    [vm] = region.aws.instances()[-1:]
    region.ec2.terminate_instances([vm.id])
    assert vm.state == "shutting-down"
    assert main(["reap", "ec2"]) == 0
    assert vm.state == "terminated"
    assert f"m0 {vm.id} is freed" in capsys.readouterr().out


def test_reap_waits_for_a_volume_that_is_detaching(region, dead):
    region.fill(DEAD, dead, machines=0)
    region.aws.refuse("DeleteVolume", "VolumeInUse", times=2)
    assert main(["reap", "ec2"]) == 0
    assert region.left == []
    assert region.aws.count("DeleteVolume") == 3


def test_resource_deleted_meanwhile_counts_as_freed(region, dead):
    region.fill(DEAD, dead, machines=0)
    for action, code in (
        ("DeleteVolume", "InvalidVolume.NotFound"),
        ("DeleteSecurityGroup", "InvalidGroup.NotFound"),
        ("DeleteLaunchTemplate", "InvalidLaunchTemplateId.NotFound"),
        ("CancelSpotInstanceRequests", "InvalidSpotInstanceRequestID.NotFound"),
    ):
        region.aws.refuse(action, code)
    assert main(["reap", "ec2"]) == 0


def test_refused_deletion_is_reported_as_a_failure(region, dead, capsys):
    region.fill(DEAD, dead, machines=1)
    region.aws.refuse("TerminateInstances", "UnauthorizedOperation", status=403, times=9)
    assert main(["reap", "ec2"]) == 1
    err = capsys.readouterr().err
    assert "may not call ec2:TerminateInstances" in err
    assert "dead-0123abcd: security-group sg-" in err
    assert len(region.left) >= 5
    region.aws.reset()


def test_list_that_is_denied_is_named_and_the_others_are_shown(region, dead, capsys):
    region.fill(DEAD, dead, machines=1)
    region.aws.refuse("DescribeLaunchTemplates", "UnauthorizedOperation", status=403)
    assert main(["ps", "ec2"]) == 1
    out, err = capsys.readouterr()
    assert "this may not be all: more may be left: " in err
    assert "may not call ec2:DescribeLaunchTemplates" in err
    assert [kind in out for kind in ("i-", "vol-", "sg-", "lt-")] == [True, True, True, False]
    region.aws.reset()


def test_ps_and_reap_send_none_of_setups_requests(region, dead):
    region.fill(DEAD, dead, machines=1)
    region.aws.asked.clear()
    assert main(["reap", "ec2"]) == 0
    actions = {action for action, _ in region.aws.asked}
    assert actions <= {
        "DescribeInstances",
        "DescribeVolumes",
        "DescribeSecurityGroups",
        "DescribeLaunchTemplates",
        "DescribeSpotInstanceRequests",
        "GetProducts",
        "TerminateInstances",
        "DeleteVolume",
        "DeleteSecurityGroup",
        "DeleteLaunchTemplate",
        "CancelSpotInstanceRequests",
    }


@pytest.mark.parametrize("kind", ["vol-", "sg-", "lt-", "sir-"])
def test_untagged_resource_is_not_deleted_by_id(region, kind):
    region.fill(None, machines=0)
    before = region.left
    [id] = [id for id in before if id.startswith(kind)]

    async def test():
        system = Ec2System(Ec2Options(region=REGION, endpoint_url=region.aws.url))
        await system.stop(Instance("volume.nobodys", "", id=id))
        await system.shutdown()

    trio.run(test)
    assert region.left == before


# -- the session's own end ------------------------------------------------------------


@pytest.mark.usefixtures("consistent")
def test_shutdown_deletes_tagged_resources_of_all_kinds(run, region):
    async def test(kit):
        await kit.start()
        region.fill(kit.request.session, kit.request.driver, machines=0)
        region.fill(OTHER, ELSEWHERE, machines=0)
        await kit.system.shutdown()
        assert len(region.left) == 4  # the other's
        assert {i.details["session"] for i in await kit.system.instances()} == {OTHER}

    run(test)


def test_shutdown_without_list_permissions_frees_all_that_it_can(run, region):
    async def test(kit):
        for action in ("DescribeSpotInstanceRequests", "DescribeVolumes", "DescribeSecurityGroups"):
            await kit.start()
            region.aws.refuse(action, "UnauthorizedOperation", status=403)
            with pytest.raises(BigmachineError, match=f"may not call ec2:{action}"):
                await kit.system.shutdown()
            assert region.left == []

    run(test)


@pytest.mark.usefixtures("consistent")
def test_all_resources_are_tagged_with_the_driver(run, region):
    async def test(kit):
        await kit.start()
        listed = await kit.system.instances()
        assert [i.details["kind"] for i in listed] == ["instance", "volume", "security-group"]
        for instance in listed:
            assert Driver.parse(instance.details["driver"]) == Driver.here()
            assert instance.details["host"] == Driver.here().host

    run(test)


@pytest.mark.usefixtures("consistent")
def test_start_recreates_a_reaped_security_group(run, region, monkeypatch):
    monkeypatch.setattr("bigmachine_ec2.api._api._NEW_SECONDS", 0.0)

    async def test(kit):
        [first] = await kit.start()
        await kit.system.stop(first)
        [group] = [id for id in region.left if id.startswith("sg-")]
        await kit.system.stop(Instance("security-group", "", id=group))
        assert region.left == []
        await kit.system.start(1, kit.request)
        assert region.aws.count("CreateSecurityGroup") == 2
        assert region.aws.count("AuthorizeSecurityGroupIngress") == 2
        await kit.system.start(1, kit.request)
        assert region.aws.count("CreateSecurityGroup") == 2

    run(test)
