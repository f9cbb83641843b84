"""The conformance kit on the ``gcp`` system; no machine boots."""

from __future__ import annotations

import pytest

from bigmachine.testing.conformance import Suite
from bigmachine_gcp import GcpOptions, GcpSystem
from tests.support.gcp.fixtures import TYPE
from tests.support.gcp.gce import ZONE


class TestGcp(Suite):
    bad_options = (
        {"market": "on-demand", "max_price": 0.1},
        {"disk": 0},
        {"disk": 1},
        {"machine_type": "n2-standrad-2"},
        {"network": "no-such-network"},
        {"subnetwork": "no-such-subnetwork"},
        {"zones": ("us-central1",)},
        {"image": "projects/debian-cloud/global/images/debian-0"},
    )

    @pytest.fixture
    def system(self, gce):
        self.gce = gce
        return GcpSystem(
            GcpOptions(
                zones=(ZONE,),
                endpoint_url=gce.url,
                machine_type=TYPE,
                allow=("192.0.2.7/32",),
            )
        )

    def leftovers(self):
        return self.gce.leftovers()
