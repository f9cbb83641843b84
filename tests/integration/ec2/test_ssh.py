"""Users log in to machines by ssh, with keys of this computer or of EC2."""

from __future__ import annotations

import pickle

import pytest
import trio

from bigmachine.errors import UsageError
from bigmachine_ec2.guest._guest_setup import Ec2GuestSetup
from tests.integration.ec2.test_access import ALLOWED, open_to, user_data
from tests.support.aws.imds import Imds
from tests.support.public_keys import KEY


def test_invalid_key_is_refused_without_a_request_to_aws(run, aws):
    async def test(kit):
        with pytest.raises(UsageError, match="invalid option ssh_key: /nowhere/key: No such file"):
            await kit.setup()
        assert not aws.asked

    run(test, ssh_key="/nowhere/key")


def test_ssh_port_is_open_to_the_driver_alone(run, aws):
    async def test(kit):
        await kit.start()
        assert open_to(aws) == {7443: {ALLOWED, "itself"}, 22: {ALLOWED}}
        assert KEY.encode() not in user_data(aws)  # which has no room for more
        there = pickle.loads(pickle.dumps(kit.system))
        assert there.guest_setup.ssh_keys == (KEY,)

    run(test, ssh_key=KEY)


@pytest.mark.parametrize(
    ("data", "address"),
    [
        ({"public-ipv4": "198.51.100.9", "local-ipv4": "10.0.0.7"}, "198.51.100.9"),
        ({"local-ipv4": "10.0.0.7"}, "10.0.0.7"),
        (None, "ADDRESS"),
    ],
)
def test_machine_prints_the_command_that_logs_in(data, address, capfd):
    class Guest(Ec2GuestSetup):
        def allow_login(self):
            return "ubuntu"

    guest = Guest(has_ssh=True)

    async def main():
        async with Imds(**data or {}).serving() as imds:
            url = imds.url if data else "http://127.0.0.1:1"
            await trio.to_thread.run_sync(lambda: guest.apply(metadata_url=url))

    trio.run(main)
    assert capfd.readouterr().err == f"to log in: ssh ubuntu@{address}\n"
