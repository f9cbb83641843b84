"""GCE in a box: instances of the tests' Compute Engine are hosts that boot, in a cloud in a box.

Each has Compute Engine's metadata server, and its image is Debian with Google's own guest agent,
which runs the start-up script; with an image of Ubuntu, cloud-init runs the user data. It reaches
the API at the driver's address, with the token that its metadata server gives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support.cloudbox import Gce as Instance
from tests.support.cloudbox import HostedVms, ticking
from tests.support.emulation.server import serving
from tests.support.gcp.gce import ZONE, Gce
from tests.support.gcp.instances import Vm
from tests.support.lean_environment import lean_environ

IMAGE = "projects/debian-cloud/global/images/family/debian-12"
"""The one whose Python the box's image has."""


def environ(gce: Gce) -> dict[str, str]:
    """Return the variables with which programs use a GCE in a box, unmodified.

    Credentials are not among them: the fixture ``gce`` has a key.
    """
    return {
        "NO_GCE_CHECK": "true",
        "BIGMACHINE_GCP_ENDPOINT_URL": gce.url,
        "BIGMACHINE_GCP_ZONES": ZONE,
        "BIGMACHINE_GCP_IMAGE": IMAGE,
        "BIGMACHINE_GCP_PUBLIC_ADDRESS": "false",
        **lean_environ(
            "bigmachine-gcp", "numpy", "rich", but=("google-cloud-compute",), with_tests=True
        ),
    }


class GceBox(HostedVms):
    """The hosts behind a `Gce`, by the names of their instances."""

    def __init__(self, gce: Gce) -> None:
        super().__init__()
        self._gce = gce

    def launch(self, vm: Vm) -> None:
        """Boot the host of an instance, and give the instance its address."""
        items = vm.document["metadata"].get("items", ())
        cloud = Instance(
            has_cloud_init="/ubuntu-os-cloud/" in vm.image,
            attributes={item["key"]: item["value"] for item in items},
            name=vm.name,
            project=self._gce.project,
            zone=vm.zone,
            machine_type=vm.document["machineType"].rpartition("/")[2],
            instance_id=int(vm.id),
            is_spot=vm.scheduling["provisioningModel"] == "SPOT",
        )
        for account in vm.document.get("serviceAccounts", ()):
            token = self._gce.oauth.issue(account["email"])
            cloud.token = {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
            cloud.scopes = tuple(account["scopes"])
        host = self.boot(vm.name, cloud, lambda: self._gce.went_off(vm))
        vm.document["networkInterfaces"][0]["networkIP"] = host.address

    def end(self, vm: Vm) -> None:
        """Have an instance shut down, as when it is deleted; return at once."""
        self.shut_down(vm.name)

    def is_off(self, vm: Vm) -> bool:
        """Whether the host of an instance has ended."""
        return self.has_no_host(vm.name)

    def console(self, vm: Vm) -> str:
        """Return what its console shows."""
        return self.hosts[vm.name].console()

    def tell_preempted(self, vm: Vm) -> None:
        """Have its metadata server say that it is being taken back."""
        self.instance(vm.name).preempted = True

    def instance(self, name: str) -> Instance:
        """Return what its metadata server knows; a test may change it."""
        cloud = self.hosts[name].cloud
        assert isinstance(cloud, Instance)
        return cloud


@contextlib.contextmanager
def gce_in_a_box(gce: Gce) -> Iterator[GceBox]:
    """Have the instances of ``gce`` be hosts while the block runs.

    They have internal addresses alone, in the default network's subnetwork, which is the box's.
    """
    box = GceBox(gce)
    first = gce.url
    try:
        with serving(gce.respond, host=box.address) as gce.url:
            gce.box = box
            gce.reset()
            with ticking(lambda: gce.advance(0)):
                yield box
    finally:
        gce.url, gce.box = first, None
        gce.reset()
        box.close()
