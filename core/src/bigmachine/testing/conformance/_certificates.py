"""Identities that nobody may accept: each has one fault, and is right otherwise."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bigmachine._identity import Authority, Identity

if TYPE_CHECKING:
    from cryptography.x509 import CertificateBuilder, Name

_EXPIRED = datetime.timedelta(seconds=-1)


class NoCertificate(Identity):
    """A client without certificate."""

    def client_context(self) -> ssl.SSLContext:
        """Return a context that verifies the machine, but has no certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.authority.decode())
        return context


def forged(driver: Identity) -> Identity:
    """Return the best possible forgery of ``driver``: the right names, signed by another key."""
    return replace(Authority(driver.session).issue("driver"), authority=driver.authority)


def without_certificate(driver: Identity) -> Identity:
    """Return a client that trusts the session, and has no certificate itself."""
    return NoCertificate(driver.name, driver.session, b"", b"", driver.authority)


def wrong_clients(authority: Authority) -> Iterator[tuple[str, Identity]]:
    """Yield clients whose certificates are signed by the session itself, and their faults."""
    yield "an expired certificate", authority.issue("driver", valid_for=_EXPIRED)
    yield "a certificate that is only for machines", authority.issue("driver", may_dial=False)
    yield "a certificate of another session's name", _elsewhere(authority).issue("driver")


FAULTS = (
    "a certificate of another authority",
    "an expired certificate",
    "the certificate of another machine",
    "a certificate of another session's name",
)
"""The faults of `wrong_machine`."""


def wrong_machine(fault: str, *, authority: Authority, name: str) -> Identity:
    """Return the identity of a machine that claims to be ``name``, but has one of `FAULTS`."""
    another, expired, machine, elsewhere = FAULTS
    if fault == another:
        forgery = Authority(authority.session).issue(name)
        return replace(forgery, authority=authority.issue(name).authority)
    if fault == expired:
        return authority.issue(name, valid_for=_EXPIRED)
    if fault == machine:
        return authority.issue(name + "x")
    assert fault == elsewhere
    return _elsewhere(authority).issue(name)


def _elsewhere(authority: Authority) -> Authority:
    """Return one with the same key and the same own certificate, for names of another session."""
    twin = _Elsewhere.__new__(_Elsewhere)
    twin.__dict__.update(authority.__dict__)
    twin.issuer = authority.session
    twin.session = "elsewhere.bigmachine"
    return twin


class _Elsewhere(Authority):
    """Signs as the session that it was made from, for the names of another one."""

    issuer: str

    def _builder(self, subject: Name, *, valid_for: datetime.timedelta) -> CertificateBuilder:
        named, self.session = self.session, self.issuer
        try:
            return super()._builder(subject, valid_for=valid_for)
        finally:
            self.session = named
