"""X.509 identities: the session's certificate authority, and a certificate for each machine.

A session is its own authority. The authority's key is made in the driver's memory
and never leaves it. Every certificate, also the driver's, is valid at both ends of a
connection and names its holder as ``<name>.<session>`` in the DNS space of
certificates only: no resolver is ever asked for these names.

P-256 keys take 0.1 ms to make; RSA ones 30 to 70.
"""

from __future__ import annotations

import datetime
import inspect
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ProtocolError

if TYPE_CHECKING:
    import ssl

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import CertificateBuilder, Name

_CLOCK_SKEW = datetime.timedelta(days=1)
_VALIDITY = datetime.timedelta(days=365)


class Authority:
    """The certificate authority of one session.

    `issue` makes a key and a certificate for a new member of the session.
    """

    def __init__(self, session: str) -> None:
        # Imported late: only what makes certificates needs it.
        from cryptography.hazmat.primitives.asymmetric import ec

        self.session = session
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign_authority()
        """What its members trust: PEM."""

    def issue(
        self, name: str, *, valid_for: datetime.timedelta = _VALIDITY, may_dial: bool = True
    ) -> Identity:
        """Make the identity of ``name``, a single DNS label such as ``"m3"``.

        An identity that may not dial is valid only at the accepting end of a connection.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        return Identity(
            name=f"{name}.{self.session}",
            session=self.session,
            certificate=self._certify(
                name, key.public_key(), valid_for=valid_for, may_dial=may_dial
            ),
            key=key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            authority=self.certificate,
        )

    def certify(self, name: str, point: bytes) -> Identity:
        """Certify a key that was made elsewhere, and stays there: the identity has none.

        ``point`` is the public key: an uncompressed point on P-256, 65 bytes. Raises
        `ProtocolError` if it is not one.
        """
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        except ValueError as exc:
            raise ProtocolError(f"{name} sent what is no public key: {exc}") from exc
        return Identity(
            name=f"{name}.{self.session}",
            session=self.session,
            certificate=self._certify(name, public, valid_for=_VALIDITY, may_dial=True),
            key=b"",
            authority=self.certificate,
        )

    def _certify(
        self,
        name: str,
        public_key: EllipticCurvePublicKey,
        *,
        valid_for: datetime.timedelta,
        may_dial: bool,
    ) -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

        full_name = f"{name}.{self.session}"
        usage = [Usage.SERVER_AUTH, *([Usage.CLIENT_AUTH] if may_dial else [])]
        certificate = (
            self._builder(_common_name(full_name), valid_for=valid_for)
            .public_key(public_key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(full_name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _sign_authority(self) -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        # The class has no defaults.
        usage = dict.fromkeys(inspect.signature(x509.KeyUsage).parameters, False)
        usage["key_cert_sign"] = True
        public_key = self._key.public_key()
        certificate = (
            self._builder(_common_name(self.session), valid_for=_VALIDITY)
            .public_key(public_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: Name, *, valid_for: datetime.timedelta) -> CertificateBuilder:
        from cryptography import x509

        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_common_name(self.session))
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + valid_for)
        )


DRIVER = "driver"
"""The name of a session's driver."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One member of a session: its name, certificate and key, and the authority that it trusts.

    ``name`` is the full name (``"m3.k2f9.bigmachine"``); the rest is PEM.
    """

    name: str
    session: str
    certificate: bytes
    key: bytes
    authority: bytes

    def __repr__(self) -> str:  # never the key
        return f"Identity({self.name!r})"

    def private_number(self) -> int:
        """Return the private key as a number, which is shorter than PEM."""
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(self.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key.private_numbers().private_value

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.3 for the accepting end; the peer must show a certificate of the session."""
        import ssl

        context = self._context(is_server=True)
        context.num_tickets = 0  # connections live long; tickets would only cost a write each
        # Nor does it take any: machines that were forked after `prepare_server_context` have the
        # same keys for tickets, so each could make one that says another peer has dialled.
        context.options |= ssl.OP_NO_TICKET
        return context

    def client_context(self) -> ssl.SSLContext:
        """TLS 1.3 for the dialling end; the peer's certificate must bear the name dialled."""
        context = self._context(is_server=False)
        context.check_hostname = True
        return context

    def check_peer(self, certificate: dict[str, Any] | None) -> str:
        """Return the name in a verified peer's certificate, if it belongs to this session.

        ``certificate`` is what `ssl.SSLObject.getpeercert` gives. Raises
        `ProtocolError` if there is none, or the name is outside the session: the chain alone
        proves who signed it, not who holds it.
        """
        for kind, value in (certificate or {}).get("subjectAltName", ()):
            if kind == "DNS" and value.endswith("." + self.session):
                return str(value)
        raise ProtocolError(f"the peer's certificate names nobody of session {self.session}")

    def _context(self, *, is_server: bool) -> ssl.SSLContext:
        context = _prepared.pop(self.authority, None) if is_server else None
        if context is None:
            context = _trusting(self.authority, is_server=is_server)
        # Who dials often has the authority's with it: else TLS looks for it in each handshake.
        chain = self.certificate if is_server else self.certificate + self.authority
        _load_chain(context, chain + self.key)
        return context


_prepared: dict[bytes, ssl.SSLContext] = {}  # by the authority that they trust


def prepare_server_context(authority: bytes) -> None:
    """Make the next server's context beforehand, but for its certificate and its key.

    A process that forks machines does this once for all of them.
    """
    _prepared.clear()
    _prepared[authority] = _trusting(authority, is_server=True)


def _trusting(authority: bytes, *, is_server: bool) -> ssl.SSLContext:
    """Return a new context for TLS 1.3, whose peers need a certificate of this authority."""
    import ssl  # late: a session that opens starts its system before it needs this

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.decode())
    return context


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """Give ``context`` its certificate and key, without a key on disk where that is possible."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("bigmachine-identity", os.MFD_CLOEXEC)
        try:
            os.write(fd, pem)
            context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return
    import tempfile

    # macOS and Windows: `ssl` reads a path only; the directory is the owner's alone.
    with tempfile.TemporaryDirectory(prefix="bigmachine-") as folder:
        path = os.path.join(folder, "identity.pem")
        with open(path, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path)


def _common_name(text: str) -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
