"""Hosts with Google's metadata server boot, and delete their instances however they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from bigmachine._identity import Authority
from bigmachine_gcp import GcpOptions
from bigmachine_gcp.catalog._images import BootForm
from bigmachine_gcp.guest import _user_data
from bigmachine_gcp.guest._user_data import SSH_USER, make_metadata
from tests.support.cloudbox import Box, Gce, Host, Request, Response
from tests.support.cloudbox.fixtures import InBox
from tests.support.cloudbox.fixtures import in_box as in_box
from tests.support.public_keys import KEY
from tests.support.vms.rig import boot_of

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(240)]

METADATA_URL = "http://169.254.169.254"
TOKEN = {"access_token": "ya29.token", "expires_in": 3599, "token_type": "Bearer"}
WITHIN = 120.0  # seconds, on a busy computer; usually ten are enough


async def be_silent(host: Host) -> None:
    """Do nothing, as a driver that is gone."""


async def kill(host: Host) -> None:
    await host.run("systemctl", "kill", "--signal=KILL", "bigmachine.service")


async def shut_down(host: Host) -> None:
    await host.press_power_button()


@pytest.mark.parametrize(
    ("form", "end", "contact_seconds"),
    [
        (BootForm.CLOUD_INIT, be_silent, 5.0),
        (BootForm.STARTUP_SCRIPT, be_silent, 5.0),
        (BootForm.CLOUD_INIT, kill, 300.0),
        (BootForm.STARTUP_SCRIPT, shut_down, 300.0),
    ],
)
def test_host_boots_and_deletes_its_instance_however_it_ends(
    in_box: InBox,
    monkeypatch: pytest.MonkeyPatch,
    form: BootForm,
    end: Callable[[Host], Awaitable[None]],
    contact_seconds: float,
) -> None:
    monkeypatch.setattr(_user_data, "CONTACT_SECONDS", contact_seconds)
    options = GcpOptions(service_account="default", endpoint_url=METADATA_URL, ssh_key=KEY)
    metadata = make_metadata(boot_of(Authority("test-0123abcd.bigmachine")), options, form)
    deletions: list[Request] = []

    async def api(request: Request) -> Response:
        deletions.append(request)
        return Response.of_json({"kind": "compute#operation", "status": "RUNNING"})

    async def main(box: Box) -> None:
        cloud = Gce(
            attributes=dict(metadata),
            name="bm-test-0123abcd-m0",
            token=TOKEN,
            has_cloud_init=form is BootForm.CLOUD_INIT,
            api=api,
        )
        host = await box.boot(cloud)
        with trio.fail_after(WITHIN):
            await host.wait_console("boot program on Python")
            await end(host)
            await host.wait_off()
        assert "bigmachine: Google deletes this instance" in host.console()

    in_box(main)
    path = "/compute/v1/projects/project-1/zones/us-central1-a/instances/bm-test-0123abcd-m0"
    [deletion] = deletions
    assert (deletion.method, deletion.path) == ("DELETE", path)
    assert deletion.headers["authorization"] == "Bearer ya29.token"


def test_google_agent_makes_the_user_who_may_log_in(in_box: InBox) -> None:
    request = boot_of(Authority("test-0123abcd.bigmachine"))
    form = BootForm.STARTUP_SCRIPT
    metadata = make_metadata(request, GcpOptions(ssh_key=KEY), form)

    async def main(box: Box) -> None:
        host = await box.boot(Gce(attributes=dict(metadata)))
        keys = f"/home/{SSH_USER}/.ssh/authorized_keys"

        async def read_keys() -> str:
            return await host.run("sh", "-c", f"cat {keys} 2>/dev/null || true")

        with trio.fail_after(WITHIN):
            while KEY not in await read_keys():
                await trio.sleep(0.1)
            assert "google-sudoers" in await host.run("id", "-Gn", SSH_USER)
            await host.wait_console("boot program on Python")
            await kill(host)
            await host.wait_off()  # without a service account it just powers off
        assert "this instance" not in host.console()

    in_box(main)
