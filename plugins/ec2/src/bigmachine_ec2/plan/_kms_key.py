"""The KMS key that encrypts the disks, checked before an instance needs it.

EC2 checks a key only while it launches an instance, which then ends at once, after it was bought
("Amazon Web Services authenticates the KMS key asynchronously", by EC2's API reference).
"""

from __future__ import annotations

import logging

from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import AwsError

logger = logging.getLogger("bigmachine.ec2")

_ATTEMPTS = 3  # the key may be good, though KMS itself can't be reached from here
_REPAIRS = {
    "Disabled": "enable it with `aws kms enable-key`",
    "PendingDeletion": "keep it with `aws kms cancel-key-deletion` and `aws kms enable-key`",
}


async def check_kms_key(api: Api, key: str) -> None:
    """Raise `UsageError` unless this key can encrypt disks in the region; "" is no key.

    A denied DescribeKey stops nothing: the key may still be usable through EC2.
    """
    if not key:
        return
    region = key.split(":")[3] if key.startswith("arn:") else api.region
    if region != api.region:
        raise UsageError(
            f"kms_key: {key} is in {region}, and the machines in {api.region}: name a key of that "
            "region, or a replica of a multi-Region key"
        )
    try:
        found = (await api.read("kms:DescribeKey", attempts=_ATTEMPTS, KeyId=key))["KeyMetadata"]
    except AwsError as error:
        if error.code not in ("NotFoundException", "InvalidArnException"):
            logger.info("the KMS key %s can't be checked: %s", key, error)
            return
        raise UsageError(
            f"kms_key: there is no {key} in {api.region}; list all with `aws kms list-aliases "
            f"--region {api.region}`, and name a key of another account by its ARN"
        ) from error
    if found.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        raise UsageError(
            f"kms_key: {key} is a {found['KeySpec']} key, and EBS takes symmetric keys: name one"
        )
    state = found.get("KeyState", "Enabled")
    if state != "Enabled":
        repair = _REPAIRS.get(state, "see it with `aws kms describe-key`")
        raise UsageError(f"kms_key: {key} is {state}: {repair}, or name another")
