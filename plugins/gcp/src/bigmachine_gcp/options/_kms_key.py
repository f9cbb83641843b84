"""The key of Cloud KMS that encrypts the disks: whether it fits, and what else it needs.

Compute Engine itself uses it, as its service agent. Whether that may, it says only when it creates
a disk ("Protect resources by using Cloud KMS keys").
"""

from __future__ import annotations

import re

from bigmachine.errors import UsageError

_NAME = r"[\w-]+"
_KEY = re.compile(
    rf"projects/[^/]+/locations/({_NAME})/keyRings/{_NAME}/cryptoKeys/{_NAME}"
    r"(?:/cryptoKeyVersions/\d+)?"
)
_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
_DENIED = re.compile(r"KMS error when using key (projects/[^\s:]+)")


def key_problem(key: str) -> str | None:
    """Return what is wrong with the form of a key's name, or None."""
    if not key or _KEY.fullmatch(key):
        return None
    return (
        "must be projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, as `gcloud kms "
        f"keys list --location=LOCATION --keyring=RING` shows it, not {key!r}"
    )


def check_location(key: str, *, region: str) -> None:
    """Raise `UsageError` if a key is in another region; "" is no key.

    One that is global, or in several regions, fits the regions that it is in.
    """
    found = _KEY.fullmatch(key)
    if found and _REGION.fullmatch(found[1]) and found[1] != region:
        raise UsageError(
            f"kms_key: {key} is in {found[1]}, and the machines in {region}: name a key of that "
            f"region, or a global one"
        )


def key_advice(message: str) -> str:
    """Return what to do if Compute Engine can't use the key of a message of Google; else "".

    "Cloud KMS error when using key …: Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied
    on resource '…' (or it may not exist)." (kubernetes-sigs/gcp-compute-persistent-disk-csi-driver
    pull request 590)
    """
    found = _DENIED.search(message)
    if not found:
        return ""
    key = found[1].partition("/cryptoKeyVersions/")[0]
    return (
        f"kms_key: Compute Engine can't use the key: it may be disabled or deleted, or its service "
        f"agent lacks the role: `gcloud kms keys add-iam-policy-binding {key} "
        f"--role=roles/cloudkms.cryptoKeyEncrypterDecrypter "
        f"--member=serviceAccount:service-PROJECT_NUMBER@compute-system.iam.gserviceaccount.com`"
    )
