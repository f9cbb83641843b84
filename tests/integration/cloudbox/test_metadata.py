"""Each host sees the metadata of its own cloud, including later changes."""

from __future__ import annotations

import json

import trio

from tests.integration.cloudbox.conftest import TIMEOUT, EchoCloud, fetch, wait_until
from tests.support.cloudbox import Azure, Box, Ec2, Gce, Host
from tests.support.cloudbox.fixtures import InBox

EC2 = "http://169.254.169.254/latest"
TOKEN = f"{EC2}/api/token"
GCE = "http://169.254.169.254/computeMetadata/v1"
AZURE = "http://169.254.169.254/metadata"

SCRIPT = """\
#!/bin/sh
echo "the script runs as $(id -un)"
"""


async def token(host: Host, ttl: str = "60") -> str:
    status, token = await fetch(host, TOKEN, method="PUT", X_aws_ec2_metadata_token_ttl_seconds=ttl)
    assert status == 200
    return token


def test_ec2_token_is_valid_only_for_host_that_requested_it(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        one, two = [await box.boot(EchoCloud(Ec2(instance_id=f"i-{n}"))) for n in (1, 2)]
        url = f"{EC2}/meta-data/instance-id"
        first, second = await token(one), await token(two)
        assert await fetch(one, url, X_aws_ec2_metadata_token=first) == (200, "i-1")
        assert await fetch(two, url, X_aws_ec2_metadata_token=second) == (200, "i-2")
        assert (await fetch(two, url, X_aws_ec2_metadata_token=first))[0] == 401

    in_box(main)


def test_ec2_refuses_imds_version_1_and_invalid_token_requests(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud(Ec2(user_data=b"secret")))
        assert (await fetch(host, f"{EC2}/user-data"))[0] == 401
        assert (await fetch(host, f"{EC2}/user-data", X_aws_ec2_metadata_token="made-up"))[0] == 401
        assert (await fetch(host, TOKEN, method="PUT"))[0] == 400
        for ttl in ("0", "21601", "soon"):
            lifetime = {"X_aws_ec2_metadata_token_ttl_seconds": ttl}
            assert (await fetch(host, TOKEN, method="PUT", **lifetime))[0] == 400

    in_box(main)


def test_ec2_host_sees_its_tags_identity_and_interruption(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        cloud = Ec2(tags={"session": "s1"}, user_data=b"\x00\xff is not text"[2:])
        host = await box.boot(EchoCloud(cloud))
        headers = {"X_aws_ec2_metadata_token": await token(host)}
        assert await fetch(host, f"{EC2}/meta-data/tags/instance/", **headers) == (200, "session")
        assert await fetch(host, f"{EC2}/meta-data/tags/instance/session", **headers) == (200, "s1")
        assert await fetch(host, f"{EC2}/user-data", **headers) == (200, " is not text")
        _, document = await fetch(host, f"{EC2}/dynamic/instance-identity/document", **headers)
        assert json.loads(document)["instanceId"] == cloud.instance_id
        assert json.loads(document)["privateIp"] == host.address
        action = f"{EC2}/meta-data/spot/instance-action"
        assert (await fetch(host, action, **headers))[0] == 404
        cloud.spot_action = {"action": "terminate", "time": "2030-01-01T00:00:00Z"}
        status, notice = await fetch(host, action, **headers)
        assert (status, json.loads(notice)) == (200, cloud.spot_action)

    in_box(main)


def test_gce_host_runs_startup_script(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(Gce(startup_script=SCRIPT))
        with trio.fail_after(TIMEOUT):
            await host.wait_console("the script runs as root")

    in_box(main)


def test_waiting_gce_host_is_notified_of_preemption(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        cloud = Gce(token={"access_token": "t", "expires_in": 3600, "token_type": "Bearer"})
        cloud_and_echo = EchoCloud(cloud)
        host = await box.boot(cloud_and_echo)
        headers = {"Metadata_Flavor": "Google"}
        assert (await fetch(host, f"{GCE}/instance/preempted"))[0] == 403
        assert await fetch(host, f"{GCE}/instance/preempted", **headers) == (200, "FALSE")
        status, account = await fetch(
            host, f"{GCE}/instance/service-accounts/default/token", **headers
        )
        assert (status, json.loads(account)) == (200, cloud.token)
        _, tree = await fetch(host, f"{GCE}/?recursive=true", **headers)
        assert json.loads(tree)["instance"]["networkInterfaces"][0]["ip"] == host.address
        assert "access_token" not in tree
        answers: list[tuple[int, str]] = []

        async def wait() -> None:
            url = f"{GCE}/instance/preempted?wait_for_change=true"
            answers.append(await fetch(host, url, **headers))

        with trio.fail_after(TIMEOUT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await wait_until(lambda: "wait_for_change" in cloud_and_echo.requests[-1].query)
                assert not answers
                cloud.preempted = True
        assert answers == [(200, "TRUE")]

    in_box(main)


def test_azure_host_runs_custom_data_and_reports_ready(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        cloud = Azure(custom_data=SCRIPT.encode())
        host = await box.boot(cloud)
        with trio.fail_after(TIMEOUT):
            await host.wait_console("the script runs as root")
        assert cloud.reports == ["Ready"]

    in_box(main)


def test_azure_host_sees_eviction_and_gets_identity_token(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        cloud = Azure(name="vm-7", is_spot=True)
        host = await box.boot(EchoCloud(cloud))
        headers = {"Metadata": "true"}
        version = "api-version=2021-02-01"
        assert (await fetch(host, f"{AZURE}/instance?{version}"))[0] == 400
        assert (await fetch(host, f"{AZURE}/instance", **headers))[0] == 400
        name = f"{AZURE}/instance/compute/name?{version}&format=text"
        assert await fetch(host, name, **headers) == (200, "vm-7")
        cloud.events.append({"EventId": "e1", "EventType": "Preempt", "Resources": ["vm-7"]})
        _, events = await fetch(host, f"{AZURE}/scheduledevents?{version}", **headers)
        assert json.loads(events)["Events"] == cloud.events
        identity = f"{AZURE}/identity/oauth2/token?{version}&resource=https://management.azure.com/"
        assert (await fetch(host, identity, **headers))[0] == 400
        cloud.token = {"access_token": "t", "token_type": "Bearer"}
        status, answer = await fetch(host, identity, **headers)
        assert status == 200
        assert json.loads(answer)["access_token"] == "t"

    in_box(main)
