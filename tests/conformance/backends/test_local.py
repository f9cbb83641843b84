"""The conformance kit on the ``local`` system, with forked and with spawned machines."""

from __future__ import annotations

import pytest

from bigmachine.testing.conformance import Suite
from bigmachine_local import LocalOptions, LocalSystem

BAD = ({"maxprocs": 0}, {"host": ""}, {"port": -1}, {"port": 65536})


class TestLocal(Suite):
    bad_options = BAD

    @pytest.fixture
    def system(self):
        return LocalSystem()


@pytest.mark.long
class TestLocalSpawning(Suite):
    bad_options = BAD

    @pytest.fixture
    def system(self):
        return LocalSystem(LocalOptions(fork=False))
