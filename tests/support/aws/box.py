"""EC2 in a box: the instances of the tests' AWS are hosts that boot, in a cloud in a box."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import trio

from tests.support.aws.names import REGION
from tests.support.cloudbox import Ec2, HostedVms
from tests.support.lean_environment import lean_environ

if TYPE_CHECKING:
    from tests.support.aws.aws import Aws


def environ(aws: Aws) -> dict[str, str]:
    """Return the variables with which programs use an EC2 in a box, unmodified."""
    return {
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "BIGMACHINE_EC2_ENDPOINT_URL": aws.url,
        "BIGMACHINE_EC2_REGION": REGION,
        "BIGMACHINE_EC2_PUBLIC_ADDRESS": "false",
        **lean_environ("bigmachine-ec2", "numpy", "rich", but=("boto3",), with_tests=True),
    }


class Ec2Box(HostedVms):
    """The hosts behind an `Aws`, by the ids of their instances."""

    def __init__(self, aws: Aws) -> None:
        super().__init__()
        self._aws = aws

    def launch(self, vm: Any) -> None:
        """Boot the host of one of moto's instances, and give the instance its address."""
        data = base64.b64decode(str(vm.user_data)) if vm.user_data else None
        cloud = Ec2(
            user_data=data,
            instance_id=vm.id,
            instance_type=vm.instance_type,
            image_id=vm.image_id,
            life_cycle=vm.lifecycle or "on-demand",
            region=vm.region_name,
            zone=vm.availability_zone,
        )
        host = self.boot(vm.id, cloud, lambda: self._aws.went_off(vm.id))
        vm.nics[0].private_ip_address = host.address

    def end(self, id: str) -> None:
        """Have an instance shut down, as when it is terminated; return at once."""
        self._loop.portal.submit(self._end, id)

    def console(self, id: str) -> str:
        """Return what its console shows."""
        return self.hosts[id].console()

    def interrupt(self, id: str) -> None:
        """Take a spot instance back, as EC2 does two minutes after its notice."""
        self._aws.interrupt(id)
        self._call(self._end, id)

    def notify(self, id: str, *, at: str) -> None:
        """Tell an instance that it is going to be taken back, at that time."""
        cloud = self.hosts[id].cloud
        assert isinstance(cloud, Ec2)
        cloud.spot_action = {"action": "terminate", "time": at}

    async def _end(self, id: str) -> None:
        await self._shut_down(self.hosts[id])
        # Also of one that is lost. In a thread: whoever holds AWS's lock may wait for this loop.
        await trio.to_thread.run_sync(self._aws.went_off, id)


@contextlib.contextmanager
def ec2_in_a_box(aws: Aws) -> Iterator[Ec2Box]:
    """Have the instances of ``aws`` be hosts while the block runs.

    They have private addresses alone, in the default VPC, which is the box's network.
    """
    box = Ec2Box(aws)
    try:
        with aws.hosting(box, block=box.block):
            yield box
    finally:
        box.close()
