"""Systems of clouds have the same hooks: what they send to machines, and how a session ends."""

from __future__ import annotations

import pickle

import httpx
import pytest
import trio

from bigmachine._identity import Authority
from bigmachine.cloud import CloudSystem, GuestError, GuestSetup
from bigmachine.errors import BigmachineError, StartError
from bigmachine.system import VmOptions

from .provider import Refused
from .test_access import access
from .test_session_resources import ALL, launched

SESSION = "main-0123abcd.bigmachine"


class FailingSetup(GuestSetup):
    __slots__ = ()

    def apply(self, *, metadata_url=""):
        raise GuestError(f"{metadata_url} has no disk for {self.data_folder}")


class Exited(BaseException):
    pass


class MadeUp(CloudSystem):
    name = "madeup"
    provider = "Made-up Cloud"
    Options = VmOptions

    def __init__(self, options=None):
        super().__init__(options)
        self.resources = launched(self.options)
        self.closed = 0

    def explain(self, error):
        return StartError(f"what to do about {error.code}")

    async def close(self):
        self.closed += 1

    def exit(self, code):
        raise Exited(code)


def with_access(system):
    """Return a system that knows how its driver reaches machines, as after its setup."""

    async def know():
        system.access = access()

    trio.run(know)
    return system


def test_machine_gets_the_options_and_its_setup_and_nothing_else():
    system = with_access(MadeUp(VmOptions(lifetime=3600.0)))
    system.guest_setup = FailingSetup()
    system.closed = 7
    there = pickle.loads(pickle.dumps(system))
    assert type(there) is MadeUp
    assert (there.options, there.guest_setup) == (system.options, system.guest_setup)
    assert (there.access, there.closed) == (None, 0)


def test_failed_setup_of_a_machine_is_logged_and_ends_it(caplog):
    async def serve():
        raise AssertionError("it must not serve")

    system = MadeUp()
    system.guest_setup = FailingSetup(data_folder="/data")
    with pytest.raises(Exited, match="1"):
        system.main(serve)
    assert "the machine's setup failed: http://169.254.169.254 has no disk for /data" in caplog.text


def test_machine_without_a_setup_serves():
    served = []

    async def serve():
        served.append(True)

    with pytest.raises(Exited):
        MadeUp().main(serve)
    assert served


def test_driver_connects_where_its_access_says():
    class Connected(Exception):
        pass

    async def connect(host, port):
        raise Connected(host, port)

    async def test():
        system = MadeUp()
        system.access = access()
        system.access.connect = connect
        identity = Authority(SESSION).issue("driver")
        async with system.http_client(identity) as client:
            with pytest.raises(Connected, match="10.0.0.7.*7443"):
                await client.get("https://10.0.0.7:7443/")
        there = pickle.loads(pickle.dumps(system))
        async with there.http_client(identity) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("https://127.0.0.1:1/")

    trio.run(test)


def test_immortal_machines_are_not_reaped():
    assert MadeUp().uses_reaper
    assert not MadeUp(VmOptions(immortal=True, lifetime=3600.0)).uses_reaper


def test_orphans_live_longer_if_machines_wait_longer_for_their_driver():
    default = MadeUp().orphan_timeout
    assert MadeUp(VmOptions(keepalive_timeout=200.0)).orphan_timeout == default
    assert MadeUp(VmOptions(keepalive_timeout=1000.0)).orphan_timeout == default + 700.0


def test_shutdown_frees_the_session_and_closes_the_connections():
    system = with_access(MadeUp())
    trio.run(system.shutdown)
    assert ALL in system.resources.steps
    assert system.access.firewall is None
    trio.run(system.shutdown)
    assert system.resources.steps.count(("find",)) == 1  # the session is over
    assert system.closed == 2


def test_failed_shutdown_says_how_to_free_what_is_left():
    system = with_access(MadeUp())
    system.resources.failing = "terminate"
    with pytest.raises(BigmachineError) as caught:
        trio.run(system.shutdown)
    assert str(caught.value) == (
        f"session {SESSION} may still have instances or a firewall rule on Made-up Cloud: list "
        f"them with `bigmachine ps madeup`, and free them with `bigmachine reap madeup {SESSION}`. "
        f"what to do about DOWN"
    )
    assert isinstance(caught.value.__cause__.__cause__, Refused)
    assert system.access.firewall is not None
    assert system.closed == 1
