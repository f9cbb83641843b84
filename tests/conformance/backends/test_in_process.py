"""The conformance kit on machines in this process, without the provider of `test_reference`."""

from __future__ import annotations

import pytest

from bigmachine.testing import InProcessSystem
from tests.conformance.suites import InProcessSuite


@pytest.mark.long  # the broken backends of the default run are this system, too
class TestInProcess(InProcessSuite):
    bad_options = ({"maxprocs": 0}, {"keepalive_period": 0.0}, {"rpc_timeout": -1.0})

    @pytest.fixture
    def system(self):
        return InProcessSystem()
