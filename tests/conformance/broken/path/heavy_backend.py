"""A module that takes long to import: the fault is its own."""

from __future__ import annotations

import time

from tests.conformance.cloud import CloudSystem

time.sleep(0.7)  # what the import of a cloud's SDK takes


class HeavyImport(CloudSystem):
    """The provider's SDK is imported at the top of the module."""
