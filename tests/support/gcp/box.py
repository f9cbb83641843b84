"""GCE in a box: instances of the tests' Compute Engine are hosts that boot, in a cloud in a box.

Each has Compute Engine's metadata server, and its image is Debian with Google's own guest agent,
which runs the start-up script; with an image of Ubuntu, cloud-init runs the user data. It reaches
the API at the driver's address, with the token that its metadata server gives.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import trio

from bigmachine.session._loop_thread import LoopThread
from tests.support.cloudbox import Box, Host, why_not
from tests.support.cloudbox import Gce as Instance
from tests.support.emulation.server import serving
from tests.support.gcp.gce import ZONE, Gce
from tests.support.gcp.instances import Vm
from tests.support.lean_environment import lean_environ

IMAGE = "projects/debian-cloud/global/images/family/debian-12"
"""The one whose Python the box's image has."""
IMAGE_PYTHON = (3, 11)
SHUTDOWN_SECONDS = 5.0  # that an instance that is told to end has to do it in good order
TICK_SECONDS = 0.05


def why_not_here() -> str:
    """Say why there can be no GCE in a box for this process; empty if there can."""
    if sys.version_info[:2] != IMAGE_PYTHON:
        return f"the box's image has Python {'.'.join(map(str, IMAGE_PYTHON))}"
    reason = why_not()
    return f"a cloud in a box {reason}" if reason else ""


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


class GceBox:
    """The hosts behind a `Gce`, by the names of their instances.

    What happens to a host Compute Engine sees, and what Compute Engine is asked for happens to the
    host. The box runs in a thread of its own, so that drivers of this process and of others may be
    tested.
    """

    def __init__(self, gce: Gce, box: Box, loop: LoopThread) -> None:
        self.hosts: dict[str, Host] = {}
        self._gce = gce
        self._box = box
        self._loop = loop
        self._lost: set[str] = set()

    @property
    def address(self) -> str:
        """The driver's, at which instances reach the API."""
        return f"{self._box.subnet}.1"

    @property
    def block(self) -> str:
        """The addresses of its hosts."""
        return f"{self._box.subnet}.0/24"

    # -- what Compute Engine asks for ---------------------------------------------------

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
        host = self._run(self._box.boot, cloud)
        self.hosts[vm.name] = host
        vm.document["networkInterfaces"][0]["networkIP"] = host.address
        self._loop.portal.submit(self._watch, vm, host)

    def end(self, vm: Vm) -> None:
        """Have an instance shut down, as when it is deleted; return at once."""
        if vm.name in self.hosts:
            self._loop.portal.submit(self._end, vm.name)

    def is_off(self, vm: Vm) -> bool:
        """Whether the host of an instance has ended."""
        return vm.name not in self.hosts or self.hosts[vm.name].is_off

    def console(self, vm: Vm) -> str:
        """Return what its console shows."""
        return self.hosts[vm.name].console()

    def tell_preempted(self, vm: Vm) -> None:
        """Have its metadata server say that it is being taken back."""
        self.instance(vm.name).preempted = True

    # -- what happens to the hosts ------------------------------------------------------

    def instance(self, name: str) -> Instance:
        """Return what its metadata server knows; a test may change it."""
        cloud = self.hosts[name].cloud
        assert isinstance(cloud, Instance)
        return cloud

    def lose(self, name: str) -> None:
        """Lose an instance with the computer that it is on; Google does not know it yet."""
        self._lost.add(name)
        self._run(self.hosts[name].kill)

    def cut(self, name: str) -> None:
        """Cut its cable: whatever is sent is lost, and neither end is told."""
        self._run(self.hosts[name].cut)

    def mend(self, name: str) -> None:
        """Mend its cable."""
        self._run(self.hosts[name].mend)

    def run(self, name: str, *command: str) -> str:
        """Run a command on it as root; return what it prints."""
        return str(self._run(partial(self.hosts[name].run, *command)))

    def running(self) -> list[str]:
        """List the instances whose hosts run."""
        return [name for name, host in self.hosts.items() if not host.is_off]

    def clear(self) -> None:
        """Lose all hosts that still run."""
        for name in self.running():
            self._run(self.hosts[name].kill)
        self.hosts.clear()
        self._lost.clear()

    def _run(self, function: Any, *args: Any) -> Any:
        return self._loop.portal.run(function, *args)

    async def _watch(self, vm: Vm, host: Host) -> None:
        await host.wait_off()
        if vm.name not in self._lost:
            # In a thread: whoever holds the lock may wait for this loop.
            await trio.to_thread.run_sync(self._gce.went_off, vm)

    async def _end(self, name: str) -> None:
        host = self.hosts[name]
        with trio.move_on_after(SHUTDOWN_SECONDS), contextlib.suppress(RuntimeError, OSError):
            await host.press_power_button()
            await host.wait_off()
        if not host.is_off:
            await host.kill()


@contextlib.contextmanager
def gce_in_a_box(gce: Gce) -> Iterator[GceBox]:
    """Have the instances of ``gce`` be hosts while the block runs.

    They have internal addresses alone, in the default network's subnetwork, which is the box's.
    """
    box = Box()
    loop = LoopThread(box)
    over = threading.Event()

    def tick() -> None:
        while not over.wait(TICK_SECONDS):  # guests end, and nobody need ask for it
            gce.advance(0)

    ticker = threading.Thread(target=tick, name="gce-clock", daemon=True)
    first = gce.url
    try:
        hosted = GceBox(gce, box, loop)
        with serving(gce.respond, host=hosted.address) as url:
            gce.url, gce.box = url, hosted
            gce.reset()
            ticker.start()
            yield hosted
            over.set()
            ticker.join()
    finally:
        over.set()
        gce.url, gce.box = first, None
        gce.reset()
        loop.close()
