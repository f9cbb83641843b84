"""Many hosts get the same environment, and the driver sends it little more than once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cloudbox import Box
from tests.support.cloudbox.fixtures import InBox
from tests.support.vms.box_fleet import deliver, shipment_of

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]


# benchmarks/fleet.py measures the time for sixteen hosts and 100 MB.
def test_driver_uploads_at_most_three_copies_for_six_hosts(
    in_box: InBox,
    tmp_path: Path,
) -> None:
    async def main(box: Box) -> None:
        shipment = shipment_of(tmp_path / "project", files=4, file_bytes=2 << 20)
        delivered = await deliver(box, shipment, hosts=6)
        assert shipment.size_bytes <= delivered.sent_bytes <= 3 * shipment.size_bytes

    in_box(main)
