"""The user data of an instance: the boot program, as the options want it."""

from __future__ import annotations

from bigmachine.boot import LaunchRequest, user_data
from bigmachine.cloud import CONTACT_SECONDS
from bigmachine.errors import StartError

from ..options._options import Ec2Options

_LIMIT = 16384  # bytes before base64, by "Run commands when you launch an EC2 instance"


def make_user_data(request: LaunchRequest, o: Ec2Options) -> bytes:
    """Return the user data of the request's instances. Raises `StartError` if it is too large."""
    data = user_data(
        request,
        listen=f"0.0.0.0:{o.port}",
        contact_seconds=CONTACT_SECONDS,
        lifetime_seconds=o.lifetime or 0.0,
        is_immortal=o.immortal,
    )
    if len(data) > _LIMIT:
        raise StartError(
            f"the boot program's user data has {len(data)} bytes, and EC2's limit is {_LIMIT}: "
            f"this is a bug in bigmachine"
        )
    return data
