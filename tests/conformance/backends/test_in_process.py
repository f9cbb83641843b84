"""The conformance kit on machines in this process."""

from __future__ import annotations

import pytest

from bigmachine.testing import InProcessSystem
from tests.conformance.suites import InProcessSuite


class TestInProcess(InProcessSuite):
    bad_options = ({"maxprocs": 0}, {"keepalive_period": 0.0}, {"rpc_timeout": -1.0})

    @pytest.fixture
    def system(self):
        return InProcessSystem()
