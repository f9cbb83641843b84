"""Who answers at a new VM's address before the VM does, or in its place."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio

from bigmachine._identity import Authority, Identity
from bigmachine.boot import LaunchRequest
from bigmachine.boot._bootstrap import BootBatch, Bootstrap, PhaseFailed
from bigmachine.boot._shipment import Shipment
from bigmachine.environment import capture
from bigmachine.machine._log import MachineLog
from bigmachine.rpc import http_client
from bigmachine.system import Instance
from tests.support.vms.rig import boot_of
from tests.support.vms.vms import Vm

Serve = Callable[[trio.SocketStream], Awaitable[None]]


class Driver:
    """A driver that boots one machine, whose environment is an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority("test.bigmachine")
        self.request: LaunchRequest = boot_of(self.authority)
        folder.mkdir()
        environment = capture(folder, path=[str(folder)])
        self._batch = BootBatch(self.request, Shipment(environment, environment.manifest()))

    async def boot(
        self, address: str, *, vm: Vm, verify: bool = False, boot_timeout: float = 20.0
    ) -> Bootstrap:
        """Boot what answers at ``address``, until its worker is started."""

        async def console() -> str:
            return vm.console()

        async def diagnose() -> None:
            return None

        async with http_client(self.authority.issue("driver")) as http:
            bootstrap = Bootstrap(
                Instance(self.request.new_machine().name, address),
                batch=self._batch,
                http=http,
                timings=self.request.keepalive,
                boot_timeout=boot_timeout,
                build_timeout=20,
                diagnose=diagnose,
                on_progress=lambda phase, done, total: None,
                log=MachineLog(lambda lines: None),
                console=console if verify else None,
            )
            try:
                await bootstrap.run()
            except PhaseFailed as exc:
                raise PhaseFailed(f"phase {bootstrap.phase}: {exc}") from exc
            return bootstrap


@contextlib.asynccontextmanager
async def front(strangers: list[Serve], *, vm: Vm) -> AsyncIterator[str]:
    """An address where one stranger after the other answers a connection, and then the VM."""

    async def serve(stream: trio.SocketStream) -> None:
        with contextlib.suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            if strangers:
                await strangers.pop(0)(stream)
                return
            host, _, port = vm.address.rpartition(":")
            inner = await trio.open_tcp_stream(host, int(port))
            async with inner, trio.open_nursery() as nursery:
                nursery.start_soon(copy, stream, inner)
                await copy(inner, stream)
                nursery.cancel_scope.cancel()

    async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await target.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        yield f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def says(data: bytes) -> Serve:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(data)
        await stream.receive_some()

    return serve


def speaks_tls(identity: Identity) -> Serve:
    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, identity.server_context(), server_side=True)
        await tls.do_handshake()

    return serve


STRANGERS = [
    says(b"SSH-2.0-OpenSSH_9.6\r\n"),
    says(b"HTTP/1.1 301 Moved Permanently\r\nlocation: https://example.com/\r\n\r\n"),
    says(bytes(range(256)) * 10),
    speaks_tls(Authority("other.bigmachine").issue("driver")),
    says(b""),
]


def test_boot_continues_after_strangers_have_answered(tmp_path: Path) -> None:
    async def main() -> None:
        driver, vm = Driver(tmp_path / "project"), Vm()
        strangers = STRANGERS.copy()
        try:
            await vm.power_on(driver.request)
            async with front(strangers, vm=vm) as address:
                bootstrap = await driver.boot(address, vm=vm, verify=True)
            assert not strangers
            assert bootstrap.phase == "start"
        finally:
            await vm.destroy()

    trio.run(main)


def test_boot_error_says_who_answered_in_place_of_machine(tmp_path: Path) -> None:
    async def main() -> None:
        driver, vm = Driver(tmp_path / "project"), Vm()
        async with front(STRANGERS[:1] * 1000, vm=vm) as address:
            with pytest.raises(
                PhaseFailed,
                match=f"phase boot: not done after 2 s; the last attempt: .*{address}.* is not "
                f"{driver.request.credential.name}, or rejects our certificate: .*SSL",
            ):
                await driver.boot(address, vm=vm, boot_timeout=2.0)
        await vm.destroy()

    trio.run(main)


@pytest.mark.long
def test_machine_whose_key_is_not_on_console_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        driver, victim, attacker = Driver(tmp_path / "project"), Vm(), Vm()
        try:
            # With the user data, the attacker has all that the machine itself begins with.
            await attacker.power_on(driver.request)
            for power_on in (True, False):
                with pytest.raises(PhaseFailed) as caught:
                    await driver.boot(attacker.address, vm=victim, verify=True, boot_timeout=4.0)
                message = str(caught.value)
                assert message.startswith("phase verify: not done after 4 s; ")
                [theirs] = re.findall(f"answers at {attacker.address} has the key (\\w+)", message)
                assert theirs in attacker.console()
                shown = re.findall("of .* shows (.*)", message)
                if power_on:
                    assert shown == ["none yet"]
                    await victim.power_on(driver.request)
                    while "key of " not in victim.console():
                        await trio.sleep(0.01)
            [fingerprint] = shown
            assert f"key of test.bigmachine: {fingerprint}" in victim.console()
            assert len(fingerprint) == len(hashlib.sha256().hexdigest())
            # The driver has signed nothing for the attacker.
            assert not driver.request._certified
        finally:
            await victim.destroy()
            await attacker.destroy()

    trio.run(main)
