"""Requests to the tests' Azure without Azure's SDK, and what they send."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Mapping
from typing import Any

from tests.support.azure.arm import Arm
from tests.support.azure.entra import DRIVER, Principal
from tests.support.azure.versions import VERSIONS

KEY = {"path": "/home/bm/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAA us"}
IMAGE = {
    "publisher": "Canonical",
    "offer": "ubuntu-24_04-lts",
    "sku": "server",
    "version": "latest",
}


def ask(
    arm: Arm,
    verb: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    user: Principal = DRIVER,
) -> tuple[int, Any]:
    """Send a request as somebody; return status and content."""
    provider = path.rpartition("/providers/")[2].partition("/")[0]
    versions = VERSIONS.get(provider) or ("2022-04-01",)
    if "/providers/" not in path:
        versions = VERSIONS["Microsoft.Resources"]
    headers = {"authorization": f"Bearer {arm.entra.issue(user)}"}
    content = b"" if body is None else json.dumps(body).encode()
    target = f"{path}{'&' if '?' in path else '?'}api-version={versions[0]}"
    status, answer, _ = arm.respond(verb, target, headers, content)
    return status, answer


def vm_body(place: Mapping[str, Any], *, identity: str = "", **properties: Any) -> dict[str, Any]:
    """Return a VM in the first subnet of a network, with an interface and an address."""
    address = {
        "name": "pip",
        "sku": {"name": "Standard"},
        "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"},
    }
    ip = {
        "name": "ip",
        "properties": {
            "primary": True,
            "subnet": {"id": place["properties"]["subnets"][0]["id"]},
            "publicIPAddressConfiguration": address,
        },
    }
    nic = {
        "name": "nic",
        "tags": {"of": "us"},
        "properties": {"primary": True, "deleteOption": "Delete", "ipConfigurations": [ip]},
    }
    disk = {
        "createOption": "FromImage",
        "deleteOption": "Delete",
        "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
    }
    vm: dict[str, Any] = {
        "location": place["location"],
        "tags": {"of": "us"},
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
            "storageProfile": {"imageReference": copy.deepcopy(IMAGE), "osDisk": disk},
            "osProfile": {
                "computerName": "m0",
                "adminUsername": "bm",
                "customData": base64.b64encode(b"#!/bin/sh\n").decode(),
                "linuxConfiguration": {
                    "disablePasswordAuthentication": True,
                    "ssh": {"publicKeys": [KEY]},
                },
            },
            "networkProfile": {
                "networkApiVersion": "2022-11-01",
                "networkInterfaceConfigurations": [nic],
            },
            **properties,
        },
    }
    if identity:
        vm["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
    return vm
