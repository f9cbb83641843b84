"""bulkInsert: many instances by one request, in one zone or in the zones of a region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce


@dataclass
class BulkInserts:
    """Carries out bulk inserts."""

    gce: Gce
