"""A machine that eats its memory until the kernel kills it: ``python examples/bigoom.py``.

Its error names the reason, and where the driver keeps what was in its memory shortly before. A
local machine shares this computer's memory, so run it where that is limited, for example in a
container, or elsewhere: ``--system ec2 -o instance_type=t3.micro``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import bigmachine as bm

LARGEST = 4 << 30  # of this computer's memory, a program should not take more without being asked


class Glutton:
    """The service: it keeps whatever it eats."""

    def __init__(self) -> None:
        self.eaten: list[bytes] = []

    def eat(self, size: int) -> None:
        """Take so many bytes of memory."""
        self.eaten.append(b"x" * size)


def eat_all(machine: bm.Machine) -> None:
    """Fill the machine's memory, at last slowly: until `MachineStopped` is raised."""
    while True:
        memory = machine.memory()
        print(f"{memory.used_fraction:.1%} of {memory.total_bytes / (1 << 20):,.0f} MiB are used")
        is_nearly_full = memory.used_fraction > 0.93
        machine.call("Glutton.eat", memory.total_bytes // (400 if is_nearly_full else 25))
        if is_nearly_full:
            time.sleep(0.5)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status: 0 if the machine has run out of memory."""
    parser = argparse.ArgumentParser(prog="bigoom", description=__doc__)
    parser.add_argument("--system", default="local", help="default local")
    parser.add_argument(
        *("-o", "--option"),
        dest="options",
        type=lambda text: text.partition("=")[::2],
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the system that is text, such as instance_type=t3.micro",
    )
    parser.add_argument("--all", action="store_true", help="also all memory of this computer")
    arguments = parser.parse_args(argv)
    with bm.Session(arguments.system, **dict(arguments.options)) as session:
        [machine] = session.start(1, services={"Glutton": Glutton()})
        is_ours = arguments.system == "local" and machine.memory().total_bytes > LARGEST
        if is_ours and not arguments.all:
            print("bigoom: this would fill this computer's memory: see --help", file=sys.stderr)
            return 2
        try:
            eat_all(machine)
        except bm.MachineStopped as exc:
            print(exc)
            return 0 if exc.reason is bm.StopReason.OOM else 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
