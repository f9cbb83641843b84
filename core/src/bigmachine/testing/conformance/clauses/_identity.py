"""Nobody talks to a machine, or is taken for one, without the session's certificate."""

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
    async def test_a_machine_refuses_who_has_another_sessions_certificate(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        driver = await kit.shared_identity()
        # As good a forgery as can be made: the right names, and signed by another key.
        forged = Authority(driver.session).issue("driver")
        forged = replace(forged, authority=driver.authority)
        await _check_refused(kit, forged, machine.instance, "a certificate of another authority")

    @must("IDENTITY-2")
    async def test_a_machine_refuses_who_has_no_certificate(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        driver = await kit.shared_identity()
        stranger = Stranger(driver.name, driver.session, b"", b"", driver.authority)
        await _check_refused(kit, stranger, machine.instance, "no certificate")

    @must("IDENTITY-3")
    async def test_the_client_refuses_a_machine_of_another_name(self, kit: Kit) -> None:
        first, second = await kit.machines()
        driver = await kit.shared_identity()
        misled = replace(first.instance, name=second.instance.name)
        async with _client(kit, driver) as http:
            with pytest.raises(ProtocolError):
                async with dial(http, misled.addr):
                    pytest.fail(f"{first.name} was taken for {second.name}")

    @must("IDENTITY-4")
    async def test_the_client_refuses_a_machine_of_another_authority(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        driver = await kit.shared_identity()
        # To who trusts another authority, this machine is the impostor.
        other = replace(driver, authority=Authority(driver.session).issue("driver").authority)
        async with _client(kit, other) as http:
            with pytest.raises(ProtocolError):
                async with dial(http, machine.addr):
                    pytest.fail("an impostor was taken for a machine")

    @must("IDENTITY-5")
    async def test_every_port_of_a_machine_demands_a_certificate(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        if await kit.is_in_process(machine):
            pytest.skip("its machines are no processes of their own")
        answers = await machine.call("Probe.answers_strangers")
        assert not answers, "; ".join(answers)


class Stranger(Identity):
    """Somebody who shows no certificate."""

    def client_context(self) -> ssl.SSLContext:
        """TLS 1.3 that verifies the machine and shows nothing."""
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
    raise AssertionError(f"the machine serves a client that shows {shown}")


@asynccontextmanager
async def _client(kit: Kit, identity: Identity) -> AsyncIterator[Any]:
    session = await kit.shared_session()
    http = session._plugins.hooks.http_client(identity=identity)
    try:
        yield http
    finally:
        await http.aclose()
