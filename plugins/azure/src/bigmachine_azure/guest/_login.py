"""Who may log in to a VM: the public keys of its ``osProfile``."""

from __future__ import annotations

import functools

from bigmachine.cloud import read_public_keys
from bigmachine.errors import UsageError

from ..options._options import AzureOptions

SSH_USER = "bigmachine"
"""The user that cloud-init makes, with the right to use sudo: a VM's ``adminUsername``."""
# "Detailed steps: Create and manage SSH keys", "Supported SSH key formats".
_TYPES = ("ssh-rsa", "ssh-ed25519")


def login_keys(o: AzureOptions) -> tuple[str, ...]:
    """Return the user's public keys; without one, a new key whose private half is forgotten.

    A Linux VM needs a password or a key: "Authentication using either SSH or by user name and
    password must be enabled in Linux profile." Raises `UsageError`.
    """
    keys = read_public_keys((o.ssh_key,) if isinstance(o.ssh_key, str) else o.ssh_key)
    for key in keys:
        kind = key.partition(" ")[0]
        if kind not in _TYPES:
            raise UsageError(
                f"invalid option ssh_key: Azure takes no keys of type {kind}, only "
                f"{' and '.join(_TYPES)}: name another, like ~/.ssh/id_ed25519.pub"
            )
    return keys or (_forgotten_key(),)


@functools.cache
def _forgotten_key() -> str:
    """Return a key of the type that Azure's model of a VM names, and all of its clouds take.

    "The key needs to be at least 2048-bit and in ssh-rsa format" (SshPublicKey.keyData); keys of
    the type ed25519 came later. One is enough for a process: nobody has the private half.
    """
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
