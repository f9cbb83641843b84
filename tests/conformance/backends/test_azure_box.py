"""The conformance kit on the ``azure`` system, with virtual machines that boot."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from bigmachine.system._options import resolve_options
from bigmachine.testing.conformance import Suite
from bigmachine_azure import AzureOptions
from tests.support.azure import box, fixtures
from tests.support.azure.arm import LOCATION
from tests.support.azure.box import GROUP, SIZE
from tests.support.azure.boxed.system import BoxedAzure

pytestmark = [
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not os.environ.get("BIGMACHINE_TEST_AZURE_KIT"),
        reason="it takes a quarter of an hour: set BIGMACHINE_TEST_AZURE_KIT=1",
    ),
]

SCARCE_SIZE = "Standard_D2as_v5"


class TestAzureInABox(Suite):
    timeout = 60.0
    payload_bytes = 8 << 20
    bad_options = ({"disk": 1}, {"image": "Debian:debian-0:0:latest"})

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def subscription(cls, served_arm, boxed_arm, tmp_path_factory):
        """The subscription, which lasts as long as the suite's shared machines."""
        served_arm.reset()
        boxed_arm.arrange()
        own = fixtures.environ(served_arm, tmp_path_factory.mktemp("azure"))
        with pytest.MonkeyPatch.context() as patch:
            # Azure's three minutes are more than the kit gives a shutdown.
            patch.setattr("tests.support.azure.interfaces.RESERVED_SECONDS", 5.0)
            for name, value in {**box.environ(served_arm), **own}.items():
                patch.setenv(name, value)
            yield served_arm
            # The kit kills a driver's reaper with it, as if the computer had failed. So reap here.
            subprocess.run(["bigmachine", "reap", "azure"], check=True)
        left = [*served_arm.leftovers(), *boxed_arm.running()]
        boxed_arm.clear()
        served_arm.reset()
        assert left == []

    @pytest.fixture
    def system(self, subscription):
        self.arm = subscription
        return _system(SIZE)

    def leftovers(self):
        return self.arm.leftovers()

    def limited_capacity(self, count):
        for market in ("spot", "on-demand"):
            self.arm.capacity[f"{market} {SCARCE_SIZE} {LOCATION}"] = 0
        self.arm.capacity[f"spot {SCARCE_SIZE} {LOCATION}"] = count
        return _system(SCARCE_SIZE)

    def lost_response(self):
        self.arm.lose_answer("virtual_machines.create_or_update")
        return _system(SIZE)

    @contextlib.contextmanager
    def foreign_resource(self):
        network = self.arm.networks.add("somebodys-network", group=GROUP)
        try:
            yield lambda: self.arm.resources.find(network["id"]) is not None
        finally:
            self.arm.resources.remove(network["id"])


def _system(size):
    return BoxedAzure(
        resolve_options(AzureOptions, system_name="azure", keywords={"vm_size": size})
    )
