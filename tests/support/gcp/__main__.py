"""Run a command with a GCE in a box: ``python -m tests.support.gcp bigpi --system gcp``.

Its instances are hosts of this computer, and they end with the command. Needs root.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support.cloudbox import run_command, why_no_drivers
from tests.support.gcp.box import environ, gce_in_a_box
from tests.support.gcp.gce import Gce


def main(command: list[str]) -> int:
    """Return the command's exit status, or 3 where it left something."""
    if not command:
        sys.exit(__doc__)
    if reason := why_no_drivers():
        sys.exit(f"no GCE in a box: {reason}")
    with (
        tempfile.TemporaryDirectory() as folder,
        Gce().serving() as gce,
        gce_in_a_box(gce) as box,
    ):
        key = gce.oauth.write_key(Path(folder, "key.json"), gce.url)
        own = {"GOOGLE_APPLICATION_CREDENTIALS": str(key), "CLOUDSDK_CONFIG": folder}
        return run_command(
            command, environ={**environ(gce), **own}, leftovers=gce.leftovers, box=box
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
