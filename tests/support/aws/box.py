"""EC2 in a box: the instances of the tests' AWS are hosts that boot, in a cloud in a box."""

from __future__ import annotations

import base64
import contextlib
import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import trio

from bigmachine.session._loop_thread import LoopThread
from tests.support.aws.aws import Aws
from tests.support.aws.region import REGION
from tests.support.cloudbox import Box, Ec2, Host, why_not
from tests.support.lean_environment import lean_environ

IMAGE_PYTHON = (3, 11)
SHUTDOWN_SECONDS = 5.0  # that an instance that is told to end has to do it in good order


def why_not_here() -> str:
    """Say why there can be no EC2 in a box for this process; empty if there can."""
    if sys.version_info[:2] != IMAGE_PYTHON:
        return f"the box's image has Python {'.'.join(map(str, IMAGE_PYTHON))}"
    reason = why_not()
    return f"a cloud in a box {reason}" if reason else ""


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


class Ec2Box:
    """The hosts behind an `Aws`, by the ids of their instances.

    What befalls a host AWS sees, and what AWS is asked for befalls the host. The box runs in a
    thread of its own, so that drivers of this process and of others may be tested.
    """

    def __init__(self, aws: Aws, box: Box, loop: LoopThread) -> None:
        self.hosts: dict[str, Host] = {}
        self._aws = aws
        self._box = box
        self._loop = loop
        self._lost: set[str] = set()

    # -- what AWS asks for --------------------------------------------------------------

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
        host = self._run(self._box.boot, cloud)
        self.hosts[vm.id] = host
        vm.nics[0].private_ip_address = host.address
        self._loop.portal.submit(self._watch, vm.id, host)

    def end(self, id: str) -> None:
        """Have an instance shut down, as when it is terminated; return at once."""
        self._loop.portal.submit(self._end, id)

    def console(self, id: str) -> str:
        """Return what its console shows."""
        return self.hosts[id].console()

    # -- what befalls the hosts ---------------------------------------------------------

    def interrupt(self, id: str) -> None:
        """Take a spot instance back, as EC2 does two minutes after its notice."""
        self._aws.interrupt(id)
        self._run(self._end, id)

    def notify(self, id: str, *, at: str) -> None:
        """Tell an instance that it is going to be taken back, at that time."""
        cloud = self.hosts[id].cloud
        assert isinstance(cloud, Ec2)
        cloud.spot_action = {"action": "terminate", "time": at}

    def lose(self, id: str) -> None:
        """Lose an instance with the computer that it is on; EC2 does not know it yet."""
        self._lost.add(id)
        self._run(self.hosts[id].kill)

    def cut(self, id: str) -> None:
        """Cut its cable: whatever is sent is lost, and neither end is told."""
        self._run(self.hosts[id].cut)

    def mend(self, id: str) -> None:
        """Mend its cable."""
        self._run(self.hosts[id].mend)

    def run(self, id: str, *command: str) -> str:
        """Run a command on it as root; return what it prints."""
        return str(self._run(partial(self.hosts[id].run, *command)))

    def running(self) -> list[str]:
        """List the instances whose hosts run."""
        return [id for id, host in self.hosts.items() if not host.is_off]

    def clear(self) -> None:
        """Lose all hosts that still run."""
        for id in self.running():
            self._run(self.hosts[id].kill)
        self.hosts.clear()

    def _run(self, function: Any, *args: Any) -> Any:
        return self._loop.portal.run(function, *args)

    async def _watch(self, id: str, host: Host) -> None:
        await host.wait_off()
        if id not in self._lost:
            await self._tell_off(id)

    async def _end(self, id: str) -> None:
        host = self.hosts[id]
        with trio.move_on_after(SHUTDOWN_SECONDS), contextlib.suppress(RuntimeError, OSError):
            await host.press_power_button()
            await host.wait_off()
        if not host.is_off:
            await host.kill()
        await self._tell_off(id)

    async def _tell_off(self, id: str) -> None:
        # In a thread: whoever holds AWS's lock may wait for this loop.
        await trio.to_thread.run_sync(self._aws.went_off, id)


@contextlib.contextmanager
def ec2_in_a_box(aws: Aws) -> Iterator[Ec2Box]:
    """Have the instances of ``aws`` be hosts while the block runs.

    They have private addresses alone, in the default VPC, which is the box's network.
    """
    box = Box()
    loop = LoopThread(box)
    try:
        with aws.hosting(Ec2Box(aws, box, loop), block=f"{box.subnet}.0/24") as hosted:
            yield hosted
    finally:
        loop.close()
