"""The console output of an instance."""

from __future__ import annotations

from ..api._api import Api
from ..api._errors import AwsError


async def read_console(api: Api, id: str) -> str:
    """Return the console output; EC2 keeps 64 KB of it. Raises `AwsError`."""
    try:
        reply = await api.read("ec2:GetConsoleOutput", InstanceId=id, Latest=True)
    except AwsError as error:
        if error.code not in ("UnsupportedOperation", "InvalidParameterCombination"):
            raise
        # Only Nitro instances return the latest output; others update it from time to time.
        reply = await api.read("ec2:GetConsoleOutput", InstanceId=id)
    return str(reply.get("Output") or "")
