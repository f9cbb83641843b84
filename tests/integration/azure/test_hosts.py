"""Hosts with Azure's metadata service boot, and delete their VMs however they end."""

from __future__ import annotations

import base64
import gzip

import pytest
import trio

from bigmachine._identity import Authority
from bigmachine_azure import AzureOptions
from bigmachine_azure.guest import _user_data
from bigmachine_azure.guest._delete_vm import REFUSED_SECONDS
from bigmachine_azure.guest._login import SSH_USER
from bigmachine_azure.guest._user_data import make_custom_data
from tests.support.cloudbox import Azure, Box, Host, Request, Response
from tests.support.cloudbox.fixtures import InBox
from tests.support.cloudbox.fixtures import in_box as in_box
from tests.support.public_keys import KEY
from tests.support.vms.rig import boot_of

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(240)]

METADATA_URL = "http://169.254.169.254"
IDENTITY = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/group-1"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bigmachine"
)
TOKEN = {"access_token": "eyJ0.token", "expires_in": "86399", "token_type": "Bearer"}
WITHIN = 180.0  # seconds, on a busy computer; usually fifteen are enough


class BootedVm:
    """A VM that boots for a driver, and the deletions that it requests, which end it."""

    def __init__(
        self, name: str, *, contact_seconds: float = 300.0, refused_seconds: int = REFUSED_SECONDS
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_user_data, "CONTACT_SECONDS", contact_seconds)
            request = boot_of(Authority("test-0123abcd.bigmachine"))
            options = AzureOptions(endpoint_url=METADATA_URL)
            data = base64.b64decode(make_custom_data(request, options, identity=IDENTITY))
        limit = f"REFUSED_SECONDS = {REFUSED_SECONDS}\n".encode()
        program = gzip.decompress(data)
        assert limit in program
        if refused_seconds != REFUSED_SECONDS:
            data = program.replace(limit, f"REFUSED_SECONDS = {refused_seconds}\n".encode())
        self.cloud = Azure(
            custom_data=data,
            name=name,
            identities=(IDENTITY,),
            token=TOKEN,
            user=SSH_USER,
            public_keys=(KEY,),
            api=self._delete,
        )
        self.deletions: list[Request] = []
        self.is_killed_by_deletion = True
        self.host: Host

    async def boot(self, box: Box) -> None:
        self.host = await box.boot(self.cloud)
        await self.host.wait_console("boot program on Python")
        assert self.cloud.reports == ["Ready"]  # or Azure considers the VM failed

    async def _delete(self, request: Request) -> Response:
        self.deletions.append(request)
        if self.is_killed_by_deletion:
            trio.lowlevel.spawn_system_task(self.host.kill)
        return Response(202)

    async def wait_deleted(self) -> None:
        await self.host.wait_off()
        deletion, *_ = self.deletions
        assert (deletion.method, deletion.path) == ("DELETE", self.cloud.resource_id)
        assert deletion.query["forcedeletion"] == "true"
        assert deletion.headers["authorization"] == "Bearer eyJ0.token"


def test_hosts_boot_and_delete_their_vms_however_they_end(in_box: InBox) -> None:
    async def be_silent(box: Box) -> None:
        vm = BootedVm("silent", contact_seconds=5.0)
        await vm.boot(box)
        await vm.wait_deleted()

    async def kill_the_program(box: Box) -> None:
        vm = BootedVm("killed")
        await vm.boot(box)
        await _may_log_in(vm.host)
        await vm.host.run("systemctl", "kill", "--signal=KILL", "bigmachine.service")
        await vm.wait_deleted()

    async def shut_down(box: Box) -> None:
        vm = BootedVm("shut-down")
        vm.is_killed_by_deletion = False
        await vm.boot(box)
        await vm.host.press_power_button()
        with trio.fail_after(60):  # it does not wait for the end of the deletion
            await vm.wait_deleted()

    async def be_refused(box: Box) -> None:
        vm = BootedVm("refused", contact_seconds=5.0, refused_seconds=3)
        vm.cloud.identities = ()
        await vm.boot(box)
        await vm.host.wait_off()
        said = vm.host.console()
        assert "this VM can't delete itself yet: 400 Identity not found" in said
        assert "It powers off, but costs as much as before until it is deleted" in said
        assert vm.deletions == []

    async def main(box: Box) -> None:
        with trio.fail_after(WITHIN):
            async with trio.open_nursery() as nursery:
                for test in (be_silent, kill_the_program, shut_down, be_refused):
                    nursery.start_soon(test, box)

    in_box(main)


async def _may_log_in(host: Host) -> None:
    """Wait until cloud-init has made the user, who has the key and may use sudo."""
    keys = f"/home/{SSH_USER}/.ssh/authorized_keys"
    while KEY not in await host.run("sh", "-c", f"cat {keys} 2>/dev/null || true"):
        await trio.sleep(0.1)
    assert "NOPASSWD" in await host.run("sudo", "-l", "-U", SSH_USER)
