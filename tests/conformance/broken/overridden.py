"""A broken suite, instead of a broken system."""

from __future__ import annotations

from tests.conformance.suites import CloudSuite


class OverridesWithoutReason(CloudSuite):
    """A test of the kit is overridden by one that always passes, without a reason."""

    def test_read_of_a_missing_file_raises_file_not_found(self, kit):
        pass
