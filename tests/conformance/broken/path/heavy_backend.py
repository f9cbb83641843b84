"""A backend's module that is slow to import."""

from __future__ import annotations

import time

from tests.conformance.cloud import CloudSystem

time.sleep(0.7)  # as long as the import of a cloud's SDK


class HeavyImport(CloudSystem):
    """The provider's SDK is imported at the top of the module."""
