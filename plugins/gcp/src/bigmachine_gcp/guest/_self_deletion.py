"""How an instance deletes itself when its driver is gone.

An instance that only powers off is in the state TERMINATED: its disks cost money still, and
`maxRunDuration` no longer deletes it (the discovery document's instances.stop and Scheduling).
"""

from __future__ import annotations

import logging
from importlib.resources import files

from ..options._options import GcpOptions
from ._delete_instance import METADATA_URL

logger = logging.getLogger("bigmachine.gcp")

API_URL = "https://compute.googleapis.com"


def self_deletion(endpoint_url: str = "", *, metadata_url: str = METADATA_URL) -> str:
    """Return the program that an instance with a service account deletes itself with.

    The account needs the permission ``compute.instances.delete``, and the instance a scope that
    includes it: ``cloud-platform`` or ``compute``. ``endpoint_url`` is the Compute Engine API, as
    the instance reaches it; by default Google's. The program is for `bigmachine.boot.user_data`.
    """
    source = files(__package__).joinpath("_delete_instance.py").read_text()
    return f"{source}\n\nmain({endpoint_url or API_URL!r}, {metadata_url!r})\n"


def warn_of_disks(o: GcpOptions, *, session: str) -> None:
    """Warn that instances which end by themselves leave their disks, if they will."""
    if o.service_account or o.immortal:
        return
    logger.warning(
        "if this computer is lost, the instances of session %s power themselves off, but their "
        "disks cost money until you run `bigmachine reap gcp %s`. With the option service_account, "
        "instances delete themselves",
        session,
        session,
    )
