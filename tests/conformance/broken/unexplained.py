"""A suite that is broken, not a system."""

from __future__ import annotations

from tests.conformance.suites import CloudSuite


class Unexplained(CloudSuite):
    """A test that didn't fit was replaced by one that passes, and no word why."""

    def test_read_of_a_missing_file_raises_file_not_found(self, kit):
        pass
