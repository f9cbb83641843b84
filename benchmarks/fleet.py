"""How long many hosts wait for their environment, compared with one; and what the driver sends.

    uv run python -m benchmarks.fleet            # 16 hosts, 100 MB, links of 40 Mbit/s

The hosts are those of the tests' cloud in a box, which needs root and its image.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trio

from tests.support.cloudbox import Box, why_not
from tests.support.vms.box_fleet import deliver, shipment_of

MAX_TIME = 2.0  # times what one host takes
MAX_BYTES = 3.0  # times the environment's size


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--hosts", type=int, default=16)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--mbit", type=int, default=40, help="of each link, the driver's too")
    options = parser.parse_args(arguments)
    if reason := why_not():
        sys.exit(f"a cloud in a box {reason}")
    return trio.run(measure, options)


async def measure(options: argparse.Namespace) -> int:
    """Print the figures of one host, then of all; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        file_bytes = options.megabytes * 100_000
        shipment = shipment_of(Path(folder, "project"), files=10, file_bytes=file_bytes)
        rate = options.mbit * 1_000_000
        async with Box() as box:
            one, fleet = [
                await deliver(box, shipment, hosts=hosts, bits_per_second=rate)
                for hosts in (1, options.hosts)
            ]
    time, sent = fleet.seconds / one.seconds, fleet.sent_bytes / shipment.size_bytes
    print(f"{shipment.size_bytes / 1e6:.0f} MB, links of {options.mbit} Mbit/s")
    for each in (one, fleet):
        times = each.sent_bytes / shipment.size_bytes
        print(f"{each.hosts:4} hosts  {each.seconds:6.1f} s  sent {times:.2f} times")
    print(f"time of one {time:7.2f} x  (target: at most {MAX_TIME:g})")
    print(f"bytes       {sent:7.2f} x  (target: at most {MAX_BYTES:g})")
    return int(time > MAX_TIME or sent > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(main())
