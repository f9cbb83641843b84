"""The conformance kit on the ``ec2`` system, with instances that boot."""

from __future__ import annotations

import contextlib

import pytest

from bigmachine._options import resolve_options
from bigmachine.testing.conformance import Suite
from bigmachine_ec2 import Ec2Options

from .aws import REGION
from .boxed import BoxedEc2
from .conftest import TYPE

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]


class TestEc2InABox(Suite):
    patience = 60.0
    payload_bytes = 8 << 20
    bad_options = ({"disk": 1}, {"image": "ami-0bad"})

    @pytest.fixture
    def system(self, ec2, aws):
        self.ec2, self.aws = ec2, aws
        return self._system()

    def leftovers(self):
        return self.aws.leftovers()

    def scarce(self, count):
        for market in ("spot", "on-demand"):
            for zone in "abcdef":
                self.aws.capacity[f"{market} {TYPE} {REGION}{zone}"] = 0
        self.aws.capacity[f"spot {TYPE} {REGION}a"] = count
        return self._system()

    def flaky(self):
        self.aws.lose_answer("RunInstances")
        self.aws.lose_answer("CreateFleet")
        return self._system()

    @contextlib.contextmanager
    def foreign(self):
        volume = self.aws.ec2.create_volume(8, f"{REGION}a")
        try:
            yield lambda: volume.id in self.aws.ec2.volumes
        finally:
            del self.aws.ec2.volumes[volume.id]

    def _system(self):
        keywords = {"instance_type": TYPE}
        return BoxedEc2(resolve_options(Ec2Options, system_name="ec2", keywords=keywords))
