"""Many hosts get what one gets, and the driver sends it little more than once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloudbox import Box
from tests.cloudbox.fixtures import InBox, in_box  # noqa: F401

from .box_fleet import deliver, shipment_of

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


# Sixteen hosts, 100 MB and how long it takes: benchmarks/fleet.py.
def test_the_drivers_uplink_carries_little_more_than_once_what_six_hosts_get(
    in_box: InBox,  # noqa: F811
    tmp_path: Path,
) -> None:
    async def main(box: Box) -> None:
        shipment = shipment_of(tmp_path / "project", files=4, file_bytes=2 << 20)
        delivered = await deliver(box, shipment, hosts=6)
        assert shipment.size_bytes <= delivered.sent_bytes <= 3 * shipment.size_bytes

    in_box(main)
