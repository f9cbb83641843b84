"""The metadata of an instance: the boot program, as the options and the image want it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from bigmachine.boot import LaunchRequest, user_data
from bigmachine.cloud import CONTACT_SECONDS, read_public_keys
from bigmachine.errors import StartError, UsageError

from ..options._options import GcpOptions
from ._self_deletion import self_deletion

SSH_USER = "bigmachine"
"""The user whom Google's guest agent makes for ``ssh_key``, with the right to use sudo."""
_MAX_BYTES = 256 << 10  # of a value, by the discovery document's Metadata


def make_metadata(request: LaunchRequest, o: GcpOptions, form: str) -> Mapping[str, str]:
    """Return the metadata of the request's instances, whose image boots by ``form``.

    With ``"cloud-init"`` that runs the boot program, else Google's guest agent does. Raises
    `StartError` if it is too large.
    """
    is_cloud_init = form == "cloud-init"
    data = user_data(
        request,
        form="cloud-init" if is_cloud_init else "script",
        listen=f"0.0.0.0:{o.port}",
        contact_seconds=CONTACT_SECONDS,
        lifetime_seconds=o.lifetime or 0.0,
        compress=is_cloud_init,
        is_immortal=o.immortal,
        self_deletion=self_deletion(o.endpoint_url) if o.service_account else "",
    )
    if is_cloud_init:
        # Values are text; cloud-init knows this encoding (its DataSourceGCE).
        text = base64.b64encode(data).decode()
        metadata = {"user-data": text, "user-data-encoding": "base64"}
    else:
        metadata = {"startup-script": data.decode("ascii")}
    if max(map(len, metadata.values())) > _MAX_BYTES:
        raise StartError(
            f"the boot program's metadata exceeds Google's limit of {_MAX_BYTES >> 10} KiB: this "
            "is a bug in bigmachine"
        )
    return {**metadata, **_login(o)}


def _login(o: GcpOptions) -> Mapping[str, str]:
    """Return who may log in: by "Metadata-managed SSH connections", and "Set up OS Login"."""
    metadata = {"block-project-ssh-keys": "TRUE"}  # the holders of ssh_key, and nobody else
    keys = read_public_keys((o.ssh_key,) if isinstance(o.ssh_key, str) else o.ssh_key)
    if keys:
        text = "\n".join(f"{SSH_USER}:{key}" for key in keys)
        if len(text.encode()) > _MAX_BYTES:
            raise UsageError(
                f"invalid option ssh_key: the keys exceed {_MAX_BYTES >> 10} KiB together: name "
                "fewer of them"
            )
        # With OS Login, which a project may have, the keys would be ignored.
        metadata |= {"ssh-keys": text, "enable-oslogin": "FALSE"}
    return metadata
