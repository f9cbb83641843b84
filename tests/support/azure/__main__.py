"""Run a command with an Azure in a box: ``python -m tests.support.azure bigpi --system azure``.

Its virtual machines are hosts of this computer, and they end with the command. Needs root.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support.azure import fixtures
from tests.support.azure.arm import Arm
from tests.support.azure.box import azure_in_a_box, environ
from tests.support.cloudbox import run_command, why_no_drivers


def main(command: list[str]) -> int:
    """Return the command's exit status, or 3 where it left something."""
    if not command:
        sys.exit(__doc__)
    if reason := why_no_drivers():
        sys.exit(f"no Azure in a box: {reason}")
    with (
        tempfile.TemporaryDirectory() as folder,
        Arm().serving() as arm,
        azure_in_a_box(arm) as box,
    ):
        own = fixtures.environ(arm, Path(folder))
        return run_command(
            command, environ={**environ(arm), **own}, leftovers=arm.leftovers, box=box
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
