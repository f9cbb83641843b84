"""The conformance kit on the ``ec2`` system; no machine boots."""

from __future__ import annotations

import pytest

from bigmachine.testing.conformance import Suite
from bigmachine_ec2 import Ec2Options, Ec2System
from tests.support.aws.names import REGION, TYPE


class TestEc2(Suite):
    bad_options = (
        {"market": "on-demand", "max_price": 0.1},
        {"disk": 0},
        {"disk": 1},
        {"instance_type": "c7i.lrage"},
        {"subnets": ("subnet-0bad",)},
        {"security_groups": ("sg-0bad",)},
        {"key_pair": "laptop"},
        {"image": "ami-0bad"},
    )

    @pytest.fixture
    def system(self, aws):
        self.aws = aws
        return Ec2System(
            Ec2Options(
                region=REGION,
                endpoint_url=aws.url,
                instance_type=TYPE,
                allow=("192.0.2.7/32",),
            )
        )

    def leftovers(self):
        return self.aws.leftovers()
