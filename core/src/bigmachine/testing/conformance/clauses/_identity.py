"""Section IDENTITY: both ends refuse a peer without a valid certificate of the session."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from bigmachine._identity import Authority, Identity
from bigmachine.errors import ProtocolError, RpcError
from bigmachine.rpc import dial
from bigmachine.system import Instance

from .._clauses import must
from .._kit import Kit


class Identities:
    """Section IDENTITY of the contract."""

    @must("IDENTITY-1")
    async def test_machine_refuses_a_certificate_of_another_session(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        driver = await kit.shared_identity()
        # The best possible forgery: the right names, signed by another key.
        forged = Authority(driver.session).issue("driver")
        forged = replace(forged, authority=driver.authority)
        await _check_refused(kit, forged, machine.instance, "a certificate of another authority")

    @must("IDENTITY-2")
    async def test_machine_refuses_a_client_without_certificate(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        driver = await kit.shared_identity()
        stranger = NoCertificate(driver.name, driver.session, b"", b"", driver.authority)
        await _check_refused(kit, stranger, machine.instance, "no certificate")

    @must("IDENTITY-3")
    async def test_client_refuses_a_machine_with_another_name(self, kit: Kit) -> None:
        first, second = await kit.machines()
        driver = await kit.shared_identity()
        misled = replace(first.instance, name=second.instance.name)
        async with _client(kit, driver) as http:
            with pytest.raises(ProtocolError):
                async with dial(http, misled.addr):
                    pytest.fail(f"{first.name} was accepted as {second.name}")

    @must("IDENTITY-4")
    async def test_client_refuses_a_machine_of_another_authority(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        driver = await kit.shared_identity()
        # For a client that trusts another authority, this machine is the impostor.
        other = replace(driver, authority=Authority(driver.session).issue("driver").authority)
        async with _client(kit, other) as http:
            with pytest.raises(ProtocolError):
                async with dial(http, machine.addr):
                    pytest.fail("a machine of another authority was accepted")

    @must("IDENTITY-5")
    async def test_every_port_of_a_machine_requires_a_certificate(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        if await kit.is_in_process(machine):
            pytest.skip("its machines are not processes of their own")
        answers = await machine.call("Probe.open_ports")
        assert not answers, "; ".join(answers)


class NoCertificate(Identity):
    """A client without certificate."""

    def client_context(self) -> ssl.SSLContext:
        """Return a context that verifies the machine, but has no certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.authority.decode())
        return context


async def _check_refused(kit: Kit, identity: Identity, instance: Instance, shown: str) -> None:
    async with _client(kit, identity) as http, kit.promptly("the refusal"):
        try:
            async with dial(http, instance.addr):
                pass
        except (RpcError, OSError):
            return
    raise AssertionError(f"the machine serves a client with {shown}")


@asynccontextmanager
async def _client(kit: Kit, identity: Identity) -> AsyncIterator[Any]:
    session = await kit.shared_session()
    http = session._plugins.hooks.http_client(identity=identity)
    try:
        yield http
    finally:
        await http.aclose()
