"""The custom data of a virtual machine: the boot program, as the options want it."""

from __future__ import annotations

import base64

from bigmachine.boot import LaunchRequest, user_data
from bigmachine.cloud import CONTACT_SECONDS
from bigmachine.errors import StartError

from ..options._options import AzureOptions
from ._self_deletion import self_deletion

_MAX_BYTES = 65_535  # before base64, by "Custom data and cloud-init on Azure Virtual Machines"


def make_custom_data(request: LaunchRequest, o: AzureOptions, *, identity: str = "") -> str:
    """Return the ``customData`` of the request's machines, which cloud-init runs, in base64.

    ``identity`` is the resource ID of the managed identity by which a VM deletes itself; without
    one it only powers off. Raises `StartError` if the data are too large.
    """
    data = user_data(
        request,
        listen=f"0.0.0.0:{o.port}",
        contact_seconds=CONTACT_SECONDS,
        lifetime_seconds=o.lifetime or 0.0,
        is_immortal=o.immortal,
        self_deletion=self_deletion(identity, o.endpoint_url) if identity else "",
    )
    if len(data) > _MAX_BYTES:
        raise StartError(
            f"the boot program's custom data has {len(data)} bytes, and Azure's limit is "
            f"{_MAX_BYTES}: this is a bug in bigmachine"
        )
    return base64.b64encode(data).decode()
