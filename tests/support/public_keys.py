"""Public keys for ssh, the same in each run."""

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def _public_key(
    private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, comment: str
) -> str:
    key = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return f"{key.decode()} {comment}"


KEY = _public_key(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), "me@laptop")
OTHER = _public_key(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "me@home")
CURVE = _public_key(ec.derive_private_key(7, ec.SECP256R1()), "me")
