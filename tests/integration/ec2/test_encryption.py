"""Encrypted disks: requested for all of an instance, with a key that is checked beforehand."""

from __future__ import annotations

import uuid

import pytest

from bigmachine.errors import StartError, UsageError
from bigmachine_ec2.resources._vm import Vm
from tests.support.aws.names import REGION

ID = "1234abcd-12ab-34cd-56ef-1234567890ab"


def disks(aws):
    """Return whether an instance's volumes are encrypted, and their keys, by device name."""
    [vm] = aws.instances()
    return {
        name: (
            aws.ec2.volumes[disk.volume_id].encrypted,
            aws.ec2.volumes[disk.volume_id].kms_key_id,
        )
        for name, disk in vm.block_device_mapping.items()
    }


@pytest.fixture
def kms(aws):
    """Return a client of the region's KMS."""
    import boto3

    return boto3.client("kms", region_name=REGION, endpoint_url=aws.url)


@pytest.fixture
def image_with_two_disks(monkeypatch):
    """Give each image a second disk, which outlives its instance; return its mapping."""
    from moto.ec2.models.amis import Ami

    usual = Ami.block_device_mappings.fget
    ebs = {"VolumeSize": 9, "DeleteOnTermination": False, "SnapshotId": "snap-2"}
    second = {"DeviceName": "/dev/xvdz", "Ebs": ebs}
    monkeypatch.setattr(Ami, "block_device_mappings", property(lambda ami: [*usual(ami), second]))
    return second


@pytest.mark.parametrize("way", ["fleet", pytest.param("run", marks=pytest.mark.long)])
def test_all_disks_are_encrypted_with_the_key(run, aws, kms, one_offer, image_with_two_disks, way):
    key = kms.create_key()["KeyMetadata"]["Arn"]

    async def test(kit):
        await kit.start()
        assert disks(aws) == dict.fromkeys(
            ("/dev/xvda", "/dev/sdf", "/dev/sdg", "/dev/xvdz"), (True, key)
        )
        [vm] = aws.instances()
        assert all(disk.delete_on_termination for disk in vm.block_device_mapping.values())

    options = one_offer if way == "run" else {}
    run(test, kms_key=key, data_disk=10, data_volumes=2, **options)


def test_image_disk_keeps_its_size_and_ends_with_the_instance(
    run, aws, one_offer, image_with_two_disks
):
    async def test(kit):
        await kit.start()
        [request] = aws.requests("RunInstances")
        second = {k: v for k, v in request.items() if k.startswith("BlockDeviceMapping.2.")}
        assert second == {
            "BlockDeviceMapping.2.DeviceName": "/dev/xvdz",
            "BlockDeviceMapping.2.Ebs.DeleteOnTermination": "true",
            "BlockDeviceMapping.2.Ebs.VolumeSize": "9",
        }
        assert not any("Encrypted" in name for name in request)  # the account's default holds

    run(test, **one_offer)


def test_data_volume_in_place_of_an_image_disk_is_refused(run, aws, image_with_two_disks):
    async def test(kit):
        with pytest.raises(UsageError, match="data_disk: ami-.* has disks of its own at /dev/sdg,"):
            await kit.setup()

    image_with_two_disks["DeviceName"] = "/dev/xvdg"
    run(test, data_disk=10, data_volumes=2)


def test_disks_are_encrypted_with_the_accounts_key_by_default(run, aws, one_offer):
    async def test(kit):
        await kit.start()
        [request] = aws.requests("RunInstances")
        assert request["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
        assert "BlockDeviceMapping.1.Ebs.KmsKeyId" not in request
        assert aws.count("DescribeKey") == 0

    run(test, encrypted=True, **one_offer)


@pytest.mark.parametrize(
    "key", ["key", f"{ID}0", "alias/", "arn:aws:kms:us-east-1:1:key/x", "ä" * 36]
)
def test_malformed_key_is_refused_without_a_request_to_aws(run, aws, key):
    async def test(kit):
        with pytest.raises(UsageError, match="kms_key: must be a key's id, its alias"):
            await kit.setup()
        assert not aws.asked

    run(test, kms_key=key)


def disabled(kms):
    id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=id)
    return id


def deleted(kms):
    id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.schedule_key_deletion(KeyId=id)
    return id


def asymmetric(kms):
    return kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda kms: str(uuid.uuid4()),
            "there is no .* in us-east-1; list all with `aws kms list-a",
        ),
        (lambda kms: f"arn:aws:kms:eu-west-1:123456789012:key/{ID}", "is in eu-west-1, and the"),
        (disabled, "is Disabled: enable it with `aws kms enable-key`"),
        (deleted, "is PendingDeletion: keep it with `aws kms cancel-key-deletion`"),
        (asymmetric, "is a RSA_2048 key, and EBS takes symmetric keys"),
    ],
    ids=["unknown", "other region", "disabled", "deleted", "asymmetric"],
)
def test_unusable_key_is_refused_before_anything_is_created(run, aws, kms, make, message):
    key = make(kms)

    async def test(kit):
        with pytest.raises(UsageError, match=f"kms_key: .*{message}"):
            await kit.setup()
        assert aws.count("CreateSecurityGroup") == 0

    run(test, kms_key=key)


def test_key_that_cannot_be_described_is_left_to_ec2(run, aws):
    async def test(kit):
        await kit.setup()

    # A key's policy may allow its use by EC2 alone: kms:ViaService.
    aws.refuse("DescribeKey", "AccessDeniedException", status=400)
    run(test, kms_key=f"arn:aws:kms:us-east-1:210987654321:key/{ID}")


def test_instance_that_ends_for_its_key_says_what_to_do(run, aws):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.start(5)
        assert str(caught.value).endswith("; and 2 more did not")  # all for the same reason
        assert f"EC2 says {aws.launch_failure[0]}: {aws.launch_failure[1]}" in str(caught.value)
        assert "that of kms_key or the account's default one" in str(caught.value)
        assert "kms:CreateGrant" in str(caught.value)
        assert "AWSServiceRoleForEC2Spot needs a grant" in str(caught.value)

    message = "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state"
    aws.launch_failure = "Client.InvalidKMSKey.InvalidState", message
    run(test)


def test_without_a_grant_for_spots_role_instances_are_on_demand(run, aws, caplog):
    async def test(kit):
        instances = await kit.start(3)
        assert [one.details["market"] for one in instances] == ["on-demand"] * 3
        text = caplog.text
        assert "not all machines were launched as preferred:\n  spot" in text
        assert "AWSServiceRoleForEC2Spot needs a grant" in text
        assert len([vm for vm in aws.instances() if vm.state == "running"]) == 3
        aws.asked.clear()
        await kit.system.start(1, kit.request)  # the session remembers it
        assert aws.count("CreateFleet") == 1

    message = "Client.InternalError: Client error on launch"
    aws.launch_failure = "Server.InternalError", message
    aws.fails_to_launch = lambda vm: vm.lifecycle == "spot"
    run(test)


@pytest.mark.parametrize(
    ("code", "message", "is_of_key"),
    [
        ("Client.InternalError", "Client.InternalError: Client error on launch", True),
        ("Client.InvalidKMSKey.InvalidState", "Client.InvalidKMSKey.InvalidState: …", True),
        ("Server.InternalError", "Client.InternalError: Client error on launch", True),
        ("Server.InternalError", "Server.InternalError: Internal error on launch", False),
        ("Client.VolumeLimitExceeded", "Client.VolumeLimitExceeded: Volume limit", False),
    ],
)
def test_key_is_named_as_the_cause_only_where_it_may_be(code, message, is_of_key):
    raw = {"InstanceId": "i-1", "State": {"Name": "terminated"}}
    vm = Vm.from_response({**raw, "StateReason": {"Code": code, "Message": message}})
    assert f"EC2 says {code}: {message}" in vm.termination().detail
    assert ("kms_key" in vm.termination().detail) == is_of_key


def test_refused_key_of_a_request_is_named(run, aws):
    async def test(kit):
        with pytest.raises(UsageError, match="kms_key: AWS can't encrypt a disk: .*InvalidState"):
            await kit.setup()

    aws.refuse("RunInstances", "InvalidKMSKey.InvalidState", times=9)
    run(test)
