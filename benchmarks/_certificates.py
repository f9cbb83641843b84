"""A P-256 authority and a certificate per end, as files, for contestants that create none."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

# The environment variable that tells drivers and machines where the certificates are.
DIRECTORY = "BIGMACHINE_BENCH_CERTIFICATES"


def write(directory: Path) -> None:
    """Write `ca.pem`, and `server` and `client` as `.pem` (certificate) and `.key`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmarks")])

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if not is_ca:
            names: list[x509.GeneralName] = [
                x509.DNSName("localhost"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(ca_key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ca.pem").write_bytes(certificate(ca_name, ca_key, is_ca=True))
    for end in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, end)])
        (directory / f"{end}.pem").write_bytes(certificate(name, key, is_ca=False))
        (directory / f"{end}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def path(name: str) -> Path:
    """Return the path of one of this run's certificate files."""
    return Path(os.environ[DIRECTORY]) / name


def tls_context(end: str) -> ssl.SSLContext:
    """Return a context for mutual TLS 1.3; `end` is "server" or "client"."""
    purpose = ssl.PROTOCOL_TLS_SERVER if end == "server" else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(path("ca.pem"))
    context.load_cert_chain(path(f"{end}.pem"), path(f"{end}.key"))
    return context
