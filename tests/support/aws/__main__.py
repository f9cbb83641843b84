"""Run a command with an EC2 in a box: ``python -m tests.support.aws bigpi --system ec2``.

Its instances are hosts of this computer, and they end with the command. Needs root.
"""

from __future__ import annotations

import os
import sys

os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"

from tests.support.aws.aws import Aws
from tests.support.aws.box import ec2_in_a_box, environ
from tests.support.cloudbox import run_command, why_no_drivers


def main(command: list[str]) -> int:
    """Return the command's exit status, or 3 where it left something."""
    if not command:
        sys.exit(__doc__)
    if reason := why_no_drivers():
        sys.exit(f"no EC2 in a box: {reason}")
    with Aws().serving() as aws:
        aws.add_images()
        aws.quotas.update(dict.fromkeys(("L-1216C47A", "L-34B43A08"), 64.0))  # vCPUs, and of spot
        with ec2_in_a_box(aws) as box:
            return run_command(command, environ=environ(aws), leftovers=aws.leftovers, box=box)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
