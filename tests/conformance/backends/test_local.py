"""The conformance kit on the ``local`` system, with forked and with spawned machines."""

from __future__ import annotations

import pytest

from bigmachine.testing.conformance import Suite
from bigmachine_local import LocalOptions, LocalSystem

# The default run has the kit on in-process machines; each of these starts processes for 40 s.
pytestmark = pytest.mark.long

BAD = ({"maxprocs": 0}, {"host": ""}, {"port": -1}, {"port": 65536})


class TestLocal(Suite):
    bad_options = BAD

    @pytest.fixture
    def system(self):
        return LocalSystem()


class TestLocalSpawning(Suite):
    bad_options = BAD

    @pytest.fixture
    def system(self):
        return LocalSystem(LocalOptions(fork=False))
