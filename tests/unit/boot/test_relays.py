"""Machines send the environment on to each other, so the driver sends it only once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from bigmachine._identity import Authority
from bigmachine._values import Instance, Keepalive, Termination
from bigmachine.boot import LaunchRequest
from bigmachine.boot._bootstrap import BootBatch, Bootstrap, PhaseFailed
from bigmachine.boot._client import BootClient
from bigmachine.boot._relays import Reachability, Relay, Relays
from bigmachine.boot._shipment import Shipment
from bigmachine.environment import capture
from bigmachine.errors import StopReason
from bigmachine.machine._log import MachineLog
from bigmachine.rpc import http_client
from tests.support.vms.rig import boot_of
from tests.support.vms.vms import Vm
from tests.support.waiting import eventually

TIMINGS = Keepalive(period=0.3, timeout=10, rpc_timeout=5)


def instances(count: int) -> list[Instance]:
    return [Instance(f"m{number}", f"10.0.0.{number}:1") for number in range(count)]


def test_machines_form_chain_that_begins_at_driver():
    async def main() -> None:
        relays = Relays()
        members = [relays.join(instance) for instance in instances(5)]
        with contextlib.ExitStack() as stack:
            sources = [stack.enter_context(relays.source_for(member)) for member in members]
            # Each serves one machine, and so does the driver.
            assert sources.count(None) == 1
            assert len(set(sources)) == 5
            # There is no cycle: each chain of sources ends at the driver.
            for member in members:
                link: Relay | None = member
                for _ in members:
                    link = link.source if link is not None else None
                assert link is None

    trio.run(main)


def test_failed_or_leaving_machine_is_not_a_source():
    async def main() -> None:
        relays = Relays()
        first, second, third = (relays.join(instance) for instance in instances(3))
        relays.leave(first)
        relays.mark_failed(second)
        with relays.source_for(third) as source:
            assert source is None

    trio.run(main)


def test_driver_serves_several_machines_if_they_cannot_reach_each_other():
    async def main() -> None:
        relays = Relays()
        members = [relays.join(instance) for instance in instances(9)]
        for member in members[:3]:
            relays.mark_failed(member)
        with contextlib.ExitStack() as stack:
            for member in members[3:7]:
                assert stack.enter_context(relays.source_for(member)) is None
            with trio.move_on_after(0) as scope:  # the fifth has to wait
                await relays.wait_for_source(members[8])
            assert scope.cancelled_caught

    trio.run(main)


def test_driver_serves_all_once_every_other_machine_has_failed():
    async def main() -> None:
        relays = Relays()
        members = [relays.join(instance) for instance in instances(3)]
        for member in members[:2]:
            relays.mark_failed(member)
        with relays.source_for(members[0]) as one, relays.source_for(members[1]) as other:
            assert one is other is None

    trio.run(main)


@pytest.mark.parametrize("is_proven", [False, True])
def test_later_start_relays_only_if_machines_may_reach_each_other(is_proven: bool):
    async def main() -> None:
        reachability = Reachability()
        first = Relays(reachability)
        members = [first.join(instance) for instance in instances(4)]
        if is_proven:
            first.mark_reached()
        for member in members[:3]:
            first.mark_failed(member)
        later = Relays(reachability)
        one, other = (later.join(instance) for instance in instances(2))
        with later.source_for(one) as source, later.source_for(other) as other_source:
            assert [source, other_source].count(None) == (1 if is_proven else 2)

    trio.run(main)


def test_source_machine_stays_until_its_receiver_is_done():
    async def main() -> None:
        relays = Relays()
        one, other = instances(2)
        first = relays.join(one)
        async with trio.open_nursery() as nursery:
            with relays.source_for(first), relays.source_for(relays.join(other)) as source:
                assert source is first
                relays.leave(first)
                done = trio.Event()

                async def drain() -> None:
                    await relays.wait_drained(first)
                    done.set()

                nursery.start_soon(drain)
                await trio.testing.wait_all_tasks_blocked()
                assert not done.is_set()
            with trio.fail_after(1):
                await done.wait()

    trio.run(main)


class CountedShipment(Shipment):
    """Counts the bytes that the driver sends."""

    sent_bytes = 0

    async def read(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        async for chunk in super().read(sha256, offset):
            type(self).sent_bytes += len(chunk)
            yield chunk


@dataclass
class Fleet:
    """VMs that boot, with the progress and errors that they report."""

    request: LaunchRequest
    http: httpx.AsyncClient
    shipment: CountedShipment
    vms: list[Vm] = field(default_factory=list)
    progress: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    async def bring_up(self, vm: Vm) -> None:
        """Boot a machine up to the start of its worker, which these VMs do not have."""
        name = self.request.new_machine().name
        reported = self.progress.setdefault(name, [])

        async def diagnose() -> Termination | None:
            return Termination(StopReason.EXITED, "it is off") if vm.is_off else None

        bootstrap = Bootstrap(
            Instance(name, vm.address),
            batch=BootBatch(self.request, self.shipment),
            http=self.http,
            timings=TIMINGS,
            boot_timeout=30,
            build_timeout=60,
            diagnose=diagnose,
            on_progress=lambda phase, done, of: reported.append((phase, done)),
            log=MachineLog(lambda lines: None),
        )
        try:
            await bootstrap.run()
        except PhaseFailed as exc:
            self.failed[name] = f"{bootstrap.phase}: {exc}"


@contextlib.asynccontextmanager
async def fleet(count: int, folder: Path, *, timeout: float = 10.0) -> AsyncIterator[Fleet]:
    authority = Authority("test.bigmachine")
    boot = boot_of(authority, timeout=timeout)
    environment = await trio.to_thread.run_sync(lambda: capture(folder, path=[str(folder)]))
    manifest = await trio.to_thread.run_sync(environment.manifest)
    CountedShipment.sent_bytes = 0
    vms = [Vm() for _ in range(count)]
    try:
        for vm in vms:
            await vm.power_on(boot)
        async with http_client(authority.issue("driver")) as http:
            yield Fleet(boot, http, CountedShipment(environment, manifest), vms)
    finally:
        for vm in vms:
            await vm.destroy()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program's folder with 12 MiB of data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    folder.mkdir()
    for number in range(3):
        (folder / f"data{number}").write_bytes(os.urandom(4 << 20))
    return folder


def test_driver_sends_environment_once_for_many_machines(folder: Path):
    async def times_sent() -> float:
        async with fleet(4, folder) as f:
            async with trio.open_nursery() as nursery:
                for vm in f.vms:
                    nursery.start_soon(f.bring_up, vm)
            assert f.failed == {}
            size = sum(f.shipment.sizes_bytes.values())
            assert size >= 12 << 20
            for reported in f.progress.values():
                assert ("upload", size) in reported
            return f.shipment.sent_bytes / size

    async def main() -> None:
        # On a busy computer, one may come when the others have booted: then it is sent once more.
        for _ in range(3):
            if (times := await times_sent()) == 1.0:
                break
        assert times == 1.0

    trio.run(main)


def test_machine_that_waits_for_upload_is_kept_alive(folder: Path):
    async def is_kept(timeout: float) -> bool:
        async with fleet(2, folder, timeout=timeout) as f:
            waiting, silent = f.vms
            [blocker] = instances(1)
            relay = f.shipment.relays.join(blocker)
            f.shipment.relays.leave(relay)
            async with trio.open_nursery() as nursery:
                with f.shipment.relays.source_for(relay) as source:
                    assert source is None  # the driver serves this machine
                    nursery.start_soon(f.bring_up, waiting)
                    progress = f.progress
                    await eventually(
                        lambda: ("upload", 0) in progress.get("m0.test.bigmachine", ())
                    )
                    with trio.fail_after(60):
                        # A machine that is called only once powers off in the meantime.
                        name = f.request.credential.name
                        wire = BootClient(f.http, address=silent.address, name=name)
                        info = None
                        while info is None:
                            with contextlib.suppress(ConnectionRefusedError):
                                info = await wire.call("info")
                    await eventually(lambda: silent.is_off)
                    if waiting.is_off:
                        return False
            assert f.failed == {}
            return True

    async def main() -> None:
        # On a busy computer, a keepalive may take more than two seconds.
        assert await is_kept(2.0) or await is_kept(10.0)

    trio.run(main)


def test_other_machines_start_if_relaying_machine_dies(folder: Path):
    async def main() -> None:
        async with fleet(4, folder) as f:
            first = f.vms[0]

            async def kill_first() -> None:
                name = "m0.test.bigmachine"
                while not any(phase == "upload" and done for phase, done in f.progress[name]):
                    await trio.testing.wait_all_tasks_blocked()
                await first.power_off()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(f.bring_up, first)
                await trio.testing.wait_all_tasks_blocked()  # it must be first in the chain
                for vm in f.vms[1:]:
                    nursery.start_soon(f.bring_up, vm)
                nursery.start_soon(kill_first)
            assert list(f.failed) == ["m0.test.bigmachine"]
            for name in list(f.progress)[1:]:
                assert f.progress[name][-1][0] == "start"

    trio.run(main)
