"""A backend's module that is slow to import."""

from __future__ import annotations

import time

from tests.conformance.cloud import CloudSystem

time.sleep(6.0)  # as long as the import of a large SDK, on a busy computer


class HeavyImport(CloudSystem):
    """The provider's SDK is imported at the top of the module."""
