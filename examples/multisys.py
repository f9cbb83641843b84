"""Two sessions at once, each with its own system: ``python examples/multisys.py``.

Here both systems are local; one has one core per machine, the other has two. The second
could as well be a cloud: ``bm.Session("ec2")``.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence

import bigmachine as bm


class Meeting:
    """A service whose guests wait for each other; so each guest needs a core."""

    def __init__(self, guests: int) -> None:
        self.guests = guests

    def setup(self, session: bm.Session) -> None:
        self._barrier = threading.Barrier(
            self.guests
        )  # cannot be pickled, so it is made on the machine

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
