"""A virtual machine deletes itself by its managed identity, tries for long, and says what comes."""

from __future__ import annotations

import os
import sys

import pytest
import trio

from bigmachine_azure.guest import _delete_vm
from bigmachine_azure.guest._self_deletion import self_deletion
from tests.support.cloudbox import Azure, Request, Response
from tests.support.metadata_server import MetadataServer
from tests.support.vms.pythons import oldest_python

IDENTITY = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/bigmachine-westeurope"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bigmachine"
)
TOKEN = {"access_token": "eyJ0.token", "expires_in": "86399", "token_type": "Bearer"}
DELETED = "bigmachine: this VM is being deleted by Azure\n"


def refusal(status: int, code: str, message: str = "because") -> Response:
    return Response.of_json({"error": {"code": code, "message": message}}, status=status)


ACCEPTED, GONE = Response(202), refusal(404, "ResourceNotFound")


class Vm:
    """A VM with an identity, and the answers of the Azure Resource Manager, the last for ever."""

    def __init__(self) -> None:
        self.cloud = Azure(
            name="bm-main-0123abcd-m0",
            resource_group="bigmachine-(west)",
            identities=(f"{IDENTITY}-of-a-policy", IDENTITY),
            token=TOKEN,
            api=self._answer,
        )
        self.answers = [ACCEPTED, GONE]
        self.requests: list[Request] = []
        self.is_stopping = False  # systemd runs the program

    async def _answer(self, request: Request) -> Response:
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def vm():
    return Vm()


@pytest.fixture
def delete(vm, tmp_path):
    """Run the program as the VM does; return what it printed, and its exit status."""

    def delete(*, url="", python=sys.executable, seconds=60, refused_seconds=60, **faults):
        async def main():
            async with MetadataServer(vm.cloud, **faults).serving() as server:
                program = self_deletion(IDENTITY, url or server.url, metadata_url=server.url)
                for name, value in {
                    "MAX_SECONDS = 86400": f"MAX_SECONDS = {seconds}",
                    "REFUSED_SECONDS = 900": f"REFUSED_SECONDS = {refused_seconds}",
                    "SHUTDOWN_SECONDS = 30": f"SHUTDOWN_SECONDS = {seconds}",
                    "= 0.5, 60.0": "= 0.01, 0.02",
                    "_ACCEPTED_PAUSE = 30.0": "_ACCEPTED_PAUSE = 0.02",
                }.items():
                    assert name in program
                    program = program.replace(name, value)
                file = tmp_path / "delete.py"
                file.write_text(program)
                systemd = {"SERVICE_RESULT": "success"} if vm.is_stopping else {}
                return await trio.run_process(
                    [python, file],
                    check=False,
                    capture_stdout=True,
                    capture_stderr=True,
                    env={**os.environ, **systemd},
                )

        done = trio.run(main)
        return done.stdout.decode() + done.stderr.decode(), done.returncode

    return delete


def test_vm_deletes_itself_until_it_is_gone(vm, delete):
    assert delete(python=oldest_python()) == (DELETED, 0)
    assert len(vm.requests) == 2
    for request in vm.requests:
        assert (request.method, request.path) == ("DELETE", vm.cloud.resource_id)
        assert request.query == {"api-version": "2024-11-01", "forcedeletion": "true"}
        assert request.headers["authorization"] == "Bearer eyJ0.token"


def test_deletion_that_fails_after_it_was_accepted_is_requested_again(vm, delete):
    in_use = refusal(409, "OperationNotAllowed", "its NIC is reserved for 180 seconds.")
    vm.answers = [ACCEPTED, in_use, ACCEPTED, Response(204)]
    said, status = delete()
    reason = "can't delete itself yet: 409 OperationNotAllowed: its NIC is reserved for 180 seconds"
    assert said.count("is being deleted by Azure") == 2
    assert f"bigmachine: this VM {reason}" in said
    assert status == 0


def test_what_is_refused_now_may_be_accepted_later(vm, delete):
    vm.answers = [
        refusal(403, "AuthorizationFailed", "The client does not have authorization"),
        refusal(403, "AuthorizationFailed", "The client does not have authorization"),
        refusal(429, "TooManyRequests"),
        Response(503, "<html>no JSON</html>"),
        ACCEPTED,
        GONE,
    ]
    said, status = delete(unavailable=2, unavailable_status=410)  # the metadata service
    assert status == 0
    reasons = [line.partition(" yet: ")[2] for line in said.splitlines()[:-1]]
    assert [reason.split(":")[0] for reason in reasons] == [
        "410",
        "403 AuthorizationFailed",  # once
        "429 TooManyRequests",
        "503",
    ]
    assert said.endswith(DELETED)


@pytest.mark.parametrize("by_systemd", [True, pytest.param(False, marks=pytest.mark.long)])
def test_shutdown_waits_only_until_the_deletion_is_accepted(
    vm, delete, by_systemd, tmp_path, monkeypatch
):
    vm.is_stopping = by_systemd
    systemctl = tmp_path / "systemctl"
    systemctl.write_text('#!/bin/sh\n[ "$1" = is-system-running ] && echo stopping\nexit 1\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    vm.answers = [refusal(409, "AnotherOperationInProgress"), ACCEPTED]
    said, status = delete()
    assert said.endswith(DELETED)
    assert status == 0
    assert len(vm.requests) == 2
    assert _delete_vm.SHUTDOWN_SECONDS <= 80  # systemd waits 90 s


@pytest.mark.parametrize("is_stopping", [False, pytest.param(True, marks=pytest.mark.long)])
def test_what_does_not_pass_is_given_up_in_time_with_what_it_costs(vm, delete, is_stopping):
    vm.is_stopping = is_stopping
    vm.answers = [refusal(403, "AuthorizationFailed", "no action 'delete'")]
    said, status = delete(**{"seconds" if is_stopping else "refused_seconds": 1})
    assert status
    assert "can't delete itself: 403 AuthorizationFailed: no action 'delete'. It" in said
    assert "powers off, but costs as much as before until it is deleted, as by" in said
    assert "`bigmachine reap azure`" in said


@pytest.mark.parametrize(
    ("cloud", "endpoint", "audience"),
    [
        ("", "https://management.azure.com", "https://management.azure.com/"),
        (
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://management.core.usgovcloudapi.net/",
        ),
    ],
)
def test_program_is_for_the_cloud_of_the_driver(monkeypatch, tmp_path, cloud, endpoint, audience):
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("AZURE_CLOUD_NAME", cloud)
    service = "http://169.254.169.254"
    call = f"main({endpoint!r}, {audience!r}, {IDENTITY!r}, {service!r})"
    assert self_deletion(IDENTITY).endswith(f"\n{call}\n")


@pytest.mark.long
def test_what_may_pass_is_no_refusal(vm, delete):
    vm.answers = [refusal(429, "TooManyRequests"), Response(503)] * 50 + [ACCEPTED, GONE]
    assert delete(refused_seconds=1, unavailable=9, unavailable_status=410)[1] == 0


@pytest.mark.long
def test_every_kind_of_silence_ends_in_time(vm, delete):
    assert "can't delete itself: no answer. It" in delete(is_silent=True, seconds=1)[0]
    assert "Connection refused" in delete(url="http://127.0.0.1:1", seconds=1)[0]
    vm.answers = [ACCEPTED]
    said, status = delete(seconds=1)
    assert "Azure has accepted that, and it still runs. It powers off" in said
    assert status
    vm.cloud.identities = (f"{IDENTITY}-of-a-policy",)
    assert "can't delete itself: 400 Identity not found. It powers off" in delete(seconds=1)[0]
