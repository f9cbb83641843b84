"""The conformance kit on the ``azure`` system; no machine boots."""

from __future__ import annotations

import pytest

from bigmachine.testing.conformance import Suite
from bigmachine_azure import AzureOptions, AzureSystem
from tests.support.azure.arm import LOCATION
from tests.support.azure.fixtures import SIZE, own_identity


class TestAzure(Suite):
    bad_options = (
        {"market": "on-demand", "max_price": 0.1},
        {"disk": 0},
        {"disk": 1},
        {"location": "nowhere"},
        {"vm_size": "Standard_D2s_v55"},
        {"zones": ("westeurope-1",)},
        {"network": "no-such-network"},
        {"identity": "no-such-identity"},
        {"image": "Debian:debian-0:0:latest"},
    )

    @pytest.fixture
    def system(self, arm):
        self.arm = arm
        return AzureSystem(
            AzureOptions(
                location=LOCATION,
                endpoint_url=arm.url,
                vm_size=SIZE,
                identity=own_identity(arm),
                allow=("192.0.2.7/32",),
            )
        )

    def leftovers(self):
        return self.arm.leftovers()
