"""Requests to the tests' Azure are checked against the models of Azure's own SDK."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.azure.models import schema_of
from tests.support.schemas import refusals


def problems(model, value, *, is_request=True):
    return [*refusals(schema_of(model, is_request=is_request), value, "body")]


VM = "compute.VirtualMachine"
ASSIGNMENT = "authorization.RoleAssignmentCreateParameters"


@pytest.mark.parametrize(
    ("model", "body", "problem"),
    [
        (VM, {}, "body.location: is required"),
        (VM, {"location": "x", "zone": "1"}, "body.zone: is unknown"),
        (VM, {"location": "x", "zones": "1"}, "body.zones: '1': must be of type array"),
        (
            VM,
            {"location": "x", "properties": {"priority": "spot"}},
            "body.properties.priority: 'spot': must be one of "
            "('Regular', 'Low', 'Spot', 'SpotPlus')",
        ),
        (
            VM,
            {"location": "x", "properties": {"vmId": "1"}},
            "body.properties.vmId: '1': is only in answers (readOnly)",
        ),
        (
            VM,
            {"location": "x", "properties": {"osProfile": {"computer_name": "m1"}}},
            "body.properties.osProfile.computer_name: is unknown",
        ),
        (
            VM,
            {"location": "x", "tags": {"azure-tag": "1"}},
            "body.tags: key: 'azure-tag': must match "
            r"(?!(?i:azure|microsoft|windows))[^<>%&\\?/]+",
        ),
        (
            "identities.Identity",
            {"location": "x", "tags": {str(number): "" for number in range(51)}},
            "body.tags: {'0': '', '1': '', '2': '', '3': '', '4': '', '5': '', '6...: "
            "51 entries, and the most is 50",
        ),
        (
            VM,
            {"location": "x", "properties": {"osProfile": {"computerName": "m" * 65}}},
            "body.properties.osProfile.computerName: "
            "'mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm...: "
            "65 characters, and the most is 64",
        ),
        (
            ASSIGNMENT,
            {"properties": {"roleDefinitionId": "x"}},
            "body.properties.principalId: is required",
        ),
        (
            "schedules.Schedule",
            {"properties": {"dailyRecurrence": {"time": 1900}}},
            "body.properties.dailyRecurrence.time: 1900: must be of type string",
        ),
        (
            "identities.Identity",
            {"location": "x", "properties": {"clientId": "y"}},
            "body.properties.clientId: 'y': is only in answers (readOnly)",
        ),
    ],
)
def test_body_is_refused_for_what_the_model_does_not_allow(model, body, problem):
    assert problems(model, body) == [problem]


def test_answer_may_have_what_is_read_only_but_nothing_unknown():
    vm = {"location": "x", "properties": {"vmId": "1", "vmid": "2"}}
    assert problems(VM, vm, is_request=False) == ["body.properties.vmid: is unknown"]
    page = {"value": [vm]}
    assert problems(f"{VM}[]", page, is_request=False) == [
        "body.value[0].properties.vmid: is unknown"
    ]


def test_size_that_the_sdk_does_not_know_yet_is_allowed():
    body = {"location": "x", "properties": {"hardwareProfile": {"vmSize": "Standard_D2s_v9"}}}
    assert problems(VM, body) == []


def test_models_are_read_without_importing_the_sdk():
    program = (
        "import sys; from tests.support.azure.models import schema_of;"
        "schema_of('compute.VirtualMachine', is_request=True).properties();"
        "print([name for name in sys.modules if name.startswith('azure.mgmt.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
