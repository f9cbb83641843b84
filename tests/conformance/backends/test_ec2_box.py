"""The conformance kit on the ``ec2`` system, with instances that boot."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from bigmachine.system._options import resolve_options
from bigmachine.testing.conformance import Suite
from bigmachine_ec2 import Ec2Options
from tests.support.aws.box import environ
from tests.support.aws.boxed import BoxedEc2
from tests.support.aws.names import REGION, TYPE

pytestmark = [
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not os.environ.get("BIGMACHINE_TEST_EC2_KIT"),
        reason="it takes a quarter of an hour: set BIGMACHINE_TEST_EC2_KIT=1",
    ),
]

SCARCE_TYPE = "c6i.large"


class TestEc2InABox(Suite):
    timeout = 60.0
    payload_bytes = 8 << 20
    bad_options = ({"disk": 1}, {"image": "ami-0bad"})

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def region(cls, served, boxed):
        """The region, which lasts as long as the suite's shared machines."""
        served.reset()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ(served).items():
                patch.setenv(name, value)
            yield served
            # The kit kills a driver's reaper with it, as if the computer had failed. So reap here.
            subprocess.run(["bigmachine", "reap", "ec2"], check=True)
        left = [*served.leftovers(), *boxed.running()]
        boxed.clear()
        served.clear()
        assert left == []

    @pytest.fixture
    def system(self, region):
        self.aws = region
        return _system(TYPE)

    def leftovers(self):
        return self.aws.leftovers()

    def limited_capacity(self, count):
        for market in ("spot", "on-demand"):
            for zone in "abcdef":
                self.aws.capacity[f"{market} {SCARCE_TYPE} {REGION}{zone}"] = 0
        self.aws.capacity[f"spot {SCARCE_TYPE} {REGION}a"] = count
        return _system(SCARCE_TYPE)

    def lost_response(self):
        self.aws.lose_answer("CreateFleet")
        return _system(TYPE)

    @contextlib.contextmanager
    def foreign_resource(self):
        volume = self.aws.ec2.create_volume(8, f"{REGION}a")
        try:
            yield lambda: volume.id in self.aws.ec2.volumes
        finally:
            del self.aws.ec2.volumes[volume.id]


def _system(kind):
    keywords = {"instance_type": kind}
    return BoxedEc2(resolve_options(Ec2Options, system_name="ec2", keywords=keywords))
