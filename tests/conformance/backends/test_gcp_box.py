"""The conformance kit on the ``gcp`` system, with instances that boot."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from bigmachine.system._options import resolve_options
from bigmachine.testing.conformance import Suite
from bigmachine_gcp import GcpOptions
from tests.support.gcp.box import environ
from tests.support.gcp.boxed.system import BoxedGcp
from tests.support.gcp.fixtures import TYPE
from tests.support.gcp.gce import ZONE

pytestmark = [
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not os.environ.get("BIGMACHINE_TEST_GCP_KIT"),
        reason="it takes a quarter of an hour: set BIGMACHINE_TEST_GCP_KIT=1",
    ),
]

SCARCE_TYPE = "n2d-standard-2"


class TestGcpInABox(Suite):
    timeout = 60.0
    payload_bytes = 8 << 20
    bad_options = ({"disk": 1}, {"image": "projects/debian-cloud/global/images/debian-0"})

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def project(cls, served_gce, boxed_gce, tmp_path_factory):
        """The project, which lasts as long as the suite's shared machines."""
        served_gce.reset()
        key = tmp_path_factory.mktemp("gcp") / "key.json"
        served_gce.oauth.write_key(key, served_gce.url)
        own = {"GOOGLE_APPLICATION_CREDENTIALS": str(key), "CLOUDSDK_CONFIG": str(key.parent)}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**environ(served_gce), **own}.items():
                patch.setenv(name, value)
            yield served_gce
            # The kit kills a driver's reaper with it, as if the computer had failed. So reap here.
            subprocess.run(["bigmachine", "reap", "gcp"], check=True)
        left = [*served_gce.leftovers(), *boxed_gce.running()]
        boxed_gce.clear()
        served_gce.reset()
        assert left == []

    @pytest.fixture
    def system(self, project):
        self.gce = project
        return _system(TYPE)

    def leftovers(self):
        return self.gce.leftovers()

    def limited_capacity(self, count):
        for market in ("spot", "on-demand"):
            self.gce.capacity[f"{market} {SCARCE_TYPE} {ZONE}"] = 0
        self.gce.capacity[f"spot {SCARCE_TYPE} {ZONE}"] = count
        return _system(SCARCE_TYPE)

    def lost_response(self):
        self.gce.lose_answer("instances.bulkInsert")
        return _system(TYPE)

    @contextlib.contextmanager
    def foreign_resource(self):
        disk = self.gce.disks.add(ZONE, "somebodys-disk")
        try:
            yield lambda: disk in self.gce.disks.all.values()
        finally:
            del self.gce.disks.all[ZONE, "somebodys-disk"]


def _system(kind):
    keywords = {"machine_type": kind}
    return BoxedGcp(resolve_options(GcpOptions, system_name="gcp", keywords=keywords))
