"""Two sessions at once, each on a system of its own: ``python examples/multisys.py``.

Here both are local, one with a core per machine and one with two. With other systems
installed, the first could be ``bm.Session("local")`` and the second a cloud's.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence

import bigmachine as bm


class Meeting:
    """A service whose guests wait for each other: it takes a core for every one of them."""

    def __init__(self, guests: int) -> None:
        self.guests = guests

    def setup(self, session: bm.PeerSession) -> None:
        self._barrier = threading.Barrier(self.guests)  # can't travel, so it is made here

    def attend(self) -> int:
        """Return the machine's process id, once all guests are here."""
        self._barrier.wait(timeout=30)
        return os.getpid()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description="Two sessions at once.")
    parser.parse_args(argv)
    with bm.Session("local", maxprocs=1) as small, bm.Session("local", maxprocs=2) as large:
        machines = [
            *small.start(2, services={"Meeting": Meeting(guests=1)}),
            *large.start(1, services={"Meeting": Meeting(guests=2)}),
        ]
        guests = {m: [m.submit("Meeting.attend") for _ in range(m.maxprocs)] for m in machines}
        for machine, futures in guests.items():
            pids = {future.result() for future in futures}
            session = "small" if machine in small.machines else "large"
            print(f"{session} {machine.name}: {len(futures)} met in process {pids.pop()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
