"""Section IDENTITY: both ends refuse a peer without a valid certificate of the session.

Each refusal has a positive control: with the right certificate, the same client and the same
machine connect. Otherwise an address that nobody can reach would pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from bigmachine._identity import Authority, Identity
from bigmachine._values import State
from bigmachine.errors import ProtocolError, RpcError
from bigmachine.rpc import dial
from bigmachine.system import Instance

from .._certificates import FAULTS, forged, without_certificate, wrong_clients
from .._clauses import must
from .._kit import Kit
from .._shared import SERVICES
from .._waiting import POLL
from .._wrappers import Impostors, Unstopped


class Identities:
    """Section IDENTITY of the contract."""

    @must("IDENTITY-1")
    async def test_machine_refuses_a_certificate_of_another_session(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        driver = await kit.shared_identity()
        await _check_refused(
            kit, forged(driver), machine.instance, "a certificate of another authority"
        )

    @must("IDENTITY-2")
    async def test_machine_refuses_a_client_without_certificate(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        driver = await kit.shared_identity()
        await _check_refused(kit, without_certificate(driver), machine.instance, "no certificate")

    @must("IDENTITY-3")
    async def test_client_refuses_a_machine_with_another_name(self, kit: Kit) -> None:
        first, second = await kit.machines()
        driver = await kit.shared_identity()
        misled = replace(first.instance, name=second.instance.name)
        async with _client(kit, driver) as http:
            await _check_accepted(http, first.instance)
            await _check_not_accepted(
                http, misled, f"{first.name}, in place of {second.name}, with its own certificate"
            )

    @must("IDENTITY-4")
    async def test_client_refuses_a_machine_of_another_authority(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        driver = await kit.shared_identity()
        # For a client that trusts another authority, this machine is the impostor.
        other = replace(driver, authority=Authority(driver.session).issue("driver").authority)
        async with _client(kit, driver) as http:
            await _check_accepted(http, machine.instance)
        async with _client(kit, other) as http:
            await _check_not_accepted(http, machine.instance, "a machine of another authority")

    @must("IDENTITY-5")
    async def test_every_port_of_a_machine_requires_a_certificate(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        if await kit.is_in_process(machine):
            pytest.skip("its machines are not processes of their own")
        answers = await machine.call("Probe.open_ports")
        assert not answers, "; ".join(answers)

    @must("IDENTITY-6")
    async def test_machine_refuses_each_invalid_certificate_of_its_session(self, kit: Kit) -> None:
        [machine, *_] = await kit.machines()
        authority = (await kit.shared_session())._authority
        assert authority is not None
        for fault, client in wrong_clients(authority):
            await _check_refused(kit, client, machine.instance, fault)

    @must("IDENTITY-7")
    async def test_client_refuses_each_machine_that_is_not_the_one_it_named(self, kit: Kit) -> None:
        if kit.system_class.ships_environment:
            pytest.skip("its machines get their certificates from the driver as they boot")
        impostors, unstopped = Impostors(), Unstopped()
        async with kit.session(impostors, unstopped) as session, unstopped:
            impostors.authority = session._authority
            count = len(FAULTS) + 1
            machines = await session.start(count, services=SERVICES, wait=False)
            for machine in machines:
                fault = impostors.faults.get(machine.instance.name)
                if fault is None:
                    await machine.wait(State.RUNNING)
                    await _check_accepted(session._http, machine.instance)
                else:
                    await _check_not_accepted(
                        session._http, machine.instance, f"a machine with {fault}"
                    )


async def _check_refused(kit: Kit, identity: Identity, instance: Instance, shown: str) -> None:
    """Fail if the machine serves a client with this identity, or refuses the right one."""
    async with _client(kit, await kit.shared_identity()) as http, kit.promptly("a connection"):
        await _check_accepted(http, instance)
    async with _client(kit, identity) as http, kit.promptly("the refusal"):
        try:
            async with dial(http, instance.addr):
                pass
        except (RpcError, OSError):
            return
    raise AssertionError(f"the machine serves a client with {shown}")


async def _check_accepted(http: Any, instance: Instance) -> None:  # Any: an httpx.AsyncClient
    try:
        async with dial(http, instance.addr):
            pass
    except (RpcError, OSError) as exc:
        raise AssertionError(f"the client refuses the right machine: {exc}") from exc


async def _check_not_accepted(http: Any, instance: Instance, impostor: str) -> None:
    """Fail unless the client reaches the machine, and finds that it is the wrong one."""
    with trio.fail_after(_REACH_TIMEOUT):
        while True:
            try:
                async with dial(http, instance.addr):
                    raise AssertionError(f"the client accepts {impostor}")
            except ProtocolError:
                return
            except (RpcError, OSError):  # it does not listen yet
                await trio.sleep(POLL)


_REACH_TIMEOUT = 60.0  # for a machine to listen


@asynccontextmanager
async def _client(kit: Kit, identity: Identity) -> AsyncIterator[Any]:
    session = await kit.shared_session()
    http = session._plugins.hooks.http_client(identity=identity)
    try:
        yield http
    finally:
        await http.aclose()
