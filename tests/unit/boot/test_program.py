"""The boot program on each supported Python, called as a driver calls it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from bigmachine._identity import Authority
from bigmachine.boot import user_data
from bigmachine.boot._bundle import builder_source
from bigmachine.boot._client import BootClient, BootStatusError
from bigmachine.boot.vm.log import LogFiles
from bigmachine.boot.vm.server import MAX_CONNECTIONS
from bigmachine.boot.vm.worker import WorkerProcess
from bigmachine.errors import ProtocolError, TransportError
from bigmachine.rpc import http_client
from tests.support.processes import is_running
from tests.support.vms.pythons import VERSIONS, python_of
from tests.support.vms.rig import boot_of, hash_of, manifest_of, rig, wheel
from tests.support.vms.vms import Vm
from tests.support.waiting import eventually, until


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(version, marks=pytest.mark.long if version in VERSIONS[1:-2] else ())
        for version in VERSIONS
    ],
)
def test_boot_program_builds_environment_on_each_python(version: str) -> None:
    async def main() -> None:
        async with rig(python_of(version)) as r:
            assert (await r.contact())["python"].startswith(version + ".")
            await r.identify()
            data = wheel()
            manifest = manifest_of(data, python=version)
            plan = await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
            assert plan == {"built": False, "missing": {hash_of(data): 0}}
            await r.upload(data)
            status = await r.built(manifest)
            assert status["error"] is None
            assert status["built"] == manifest["content"]
            tool = r.prefix(manifest) / "bin" / "tool"
            done = subprocess.run([tool], capture_output=True, check=True)
            assert done.stdout == b"tool\n"
            # Nothing is missing after the build.
            await r.kept(manifest)
            plan = await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
            assert plan == {"built": True, "missing": {}}
            await r.wire.call("abandon")
            await r.off()

    trio.run(main)


def test_console_says_that_a_service_of_the_image_has_the_port(tmp_path: Path) -> None:
    async def main() -> None:
        vm = Vm(disk=tmp_path)
        host, _, port = vm.address.partition(":")
        with socket.create_server((host, int(port))), trio.fail_after(60):
            await vm.power_on(boot_of(Authority("a-0123abcd.bigmachine")), contact_seconds=1.0)
            await eventually(lambda: "Address already in use" in vm.console())
            assert f"('{host}', {port})" in vm.console()

    trio.run(main)


def test_user_data_is_small_enough_for_any_cloud() -> None:
    boot = boot_of(Authority("a-long-name-of-a-computer-0123abcd.bigmachine"))
    # 10.0 KiB at the most, when a serial number is a byte shorter: then the two certificates have
    # no base64 in common. EC2 takes 16 KiB.
    assert len(user_data(boot)) < 11 << 10


def test_boot_credential_is_valid_for_one_exchange() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.identify()
            old = BootClient(r.http, address=r.vm.address, name=r.request.credential.name)
            with pytest.raises(ProtocolError, match="is not boot-"):
                await old.call("info")
            # A client with the credential from the user data cannot connect either.
            async with http_client(r.request.credential) as client:
                for name in (r.name, r.request.credential.name):
                    with pytest.raises((ProtocolError, TransportError)):
                        await BootClient(client, address=r.vm.address, name=name).call("info")
            with pytest.raises(BootStatusError, match="its identity already"):
                await r.wire.call("identify", certificate="")
            with pytest.raises(ProtocolError, match="already has its identity"):
                r.request.certify(r.name, b"")

    trio.run(main)


def test_boot_credential_does_not_authenticate_client() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.contact()
            async with http_client(r.request.credential) as client:
                with pytest.raises((ProtocolError, TransportError)):
                    await BootClient(
                        client, address=r.vm.address, name=r.request.credential.name
                    ).call("info")

    trio.run(main)


def test_client_without_certificate_of_session_is_refused() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.contact()
            other_authority = Authority("test.bigmachine").issue("driver")
            async with http_client(other_authority) as foreign_client:
                with pytest.raises((ProtocolError, TransportError)):
                    await BootClient(
                        foreign_client, address=r.vm.address, name=r.request.credential.name
                    ).call("info")
            host, _, port = r.vm.address.rpartition(":")
            context = ssl.create_default_context(cadata=r.request.credential.authority.decode())
            context.check_hostname = False
            stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=context)
            # The server may have closed the connection already.
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(b"POST /rpc/Boot.info HTTP/1.1\r\nhost: x\r\n\r\n")
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            await trio.aclose_forcefully(stream)
            assert await r.wire.call("info")

    trio.run(main)


def test_other_machine_may_only_read_blobs() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.identify()
            data = wheel()
            await r.wire.call("plan", manifest=manifest_of(data), builder_source=builder_source())
            await r.upload(data)
            async with http_client(r.authority.issue("m7")) as peer:
                extensions = {"sni_hostname": r.name}
                url = f"https://{r.vm.address}/blobs/{hash_of(data)}?100"
                response = await peer.get(url, extensions=extensions)
                assert response.content == data[100:]
                with pytest.raises(BootStatusError, match="only the session's driver"):
                    await BootClient(peer, address=r.vm.address, name=r.name).call("info")

    trio.run(main)


def test_interrupted_upload_resumes_at_its_offset() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.identify()
            data = os.urandom(3 << 20)
            await r.wire.call("plan", manifest=manifest_of(data), builder_source=builder_source())

            async def half() -> AsyncIterator[bytes]:
                yield data[: 1 << 20]
                raise OSError("the driver's network is down")

            with pytest.raises(OSError, match="network is down"):
                await r.wire.put(hash_of(data), offset=0, size_bytes=len(data), content=half())
            with pytest.raises(BootStatusError, match="another offset"):
                await r.upload(data, offset=2 << 20)
            with trio.fail_after(60):
                while missing := (await r.wire.call("status"))["missing"]:
                    offset = missing[hash_of(data)]
                    if offset:  # data of the first upload may still arrive
                        with contextlib.suppress(BootStatusError):
                            await r.upload(data, offset=offset)

    trio.run(main)


def test_damaged_blob_is_refused_and_can_be_sent_again() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.identify()
            data = wheel()
            await r.wire.call("plan", manifest=manifest_of(data), builder_source=builder_source())
            damaged = data[:50] + bytes([data[50] ^ 1]) + data[51:]
            with pytest.raises(BootStatusError, match="damaged on its way"):
                await r.upload(damaged, sha256=hash_of(data))
            with pytest.raises(BootStatusError, match="not here yet"):
                await r.wire.call("build")
            await r.upload(data)
            assert (await r.built(manifest_of(data)))["built"]

    trio.run(main)


def test_invalid_wheel_fails_build_with_clear_error() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.identify()
            data = b"no zip"
            await r.wire.call("plan", manifest=manifest_of(data), builder_source=builder_source())
            await r.upload(data)
            status = await r.built(manifest_of(data))
            assert "the wheel of little 1.0 is broken" in status["error"]

    trio.run(main)


def test_error_for_missing_python_lists_available_versions() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.identify()
            manifest = manifest_of(python="3.99")
            await r.wire.call("plan", manifest=manifest, builder_source=builder_source())
            status = await r.built(manifest)
            assert "the driver runs Python 3.99, and this image has 3." in status["error"]

    trio.run(main)


def test_machine_without_driver_deletes_its_instance_and_powers_off(tmp_path: Path) -> None:
    off, deleted = tmp_path / "it's off", tmp_path / "deleted"
    program = f"""
import os
off, deleted = {[str(off), str(deleted)]!r}
with open(deleted, "a") as file:
    file.write("too late" if os.path.exists(off) else "in time\\n")
"""

    async def main() -> None:
        touch = (("touch", str(off)),)
        async with rig(contact_seconds=1.0, poweroff=touch, self_deletion=program) as r:
            await r.off()
            assert "no driver called in 1 s" in r.vm.console()
            await eventually(off.exists)

    trio.run(main)
    assert deleted.read_text() == "in time\n"


def test_machine_powers_off_if_driver_becomes_silent() -> None:
    async def main() -> None:
        async with rig(timeout=1.0) as r:
            await r.identify()
            await r.off()
            assert "the driver was silent for 1 s" in r.vm.console()

    trio.run(main)


def test_machine_powers_off_after_lifetime_although_driver_calls() -> None:
    async def main() -> None:
        async with rig(lifetime_seconds=1.5) as r:
            await r.identify()
            with trio.fail_after(60):
                while not r.vm.is_off:
                    with contextlib.suppress(TransportError, ConnectionRefusedError):
                        await r.wire.call("keepalive")
                    await trio.sleep(0.05)
            assert "its lifetime is over" in r.vm.console()

    trio.run(main)


def test_immortal_machine_stays_on_until_its_lifetime_is_over(
    tmp_path: Path,
) -> None:
    off = tmp_path / "off"
    began = time.time()

    async def main() -> None:
        async with rig(
            contact_seconds=1.0,
            lifetime_seconds=4.0,
            is_immortal=True,
            poweroff=(("touch", str(off)),),
        ) as r:
            await r.off()
            assert "no driver called in 1 s" in r.vm.console()
            await eventually(off.exists)

    trio.run(main)
    assert off.stat().st_mtime >= began + 4.0


def test_guard_of_the_script_deletes_the_instance_and_powers_off(tmp_path: Path) -> None:
    # Of the script, what runs if the boot program never does: `off`, here without a program.
    off = tmp_path / "it's off"
    text = user_data(
        boot_of(Authority("test.bigmachine")),
        form="script",
        compress=False,
        poweroff=(("false",), ("touch", str(off))),
        self_deletion="print('deletes itself')",
        runtime=str(tmp_path),
    ).decode()
    [function] = [line for line in text.splitlines() if line.startswith("off() ")]
    subprocess.run(["sh", "-c", f"{function}; off"], check=True, stderr=subprocess.DEVNULL)
    assert off.exists()
    (tmp_path / "delete.py").write_text(
        text.partition("cat >delete.py <<'BIGMACHINE'\n")[2].partition("BIGMACHINE")[0]
    )
    said = subprocess.check_output(["sh", "-c", f"{function}; off"], text=True)
    assert said == "deletes itself\n"


def test_unit_deletes_the_instance_however_it_is_stopped() -> None:
    boot = boot_of(Authority("test.bigmachine"))
    program = "print('deletes itself')"
    text = user_data(boot, form="script", compress=False, self_deletion=program).decode()
    assert "ExecStopPost=-$python /run/bigmachine/delete.py\n" in text
    assert "After=network.target nss-lookup.target\n[Service]\n" in text  # while it has a network
    immortal = user_data(
        boot, form="script", compress=False, self_deletion=program, is_immortal=True
    ).decode()
    assert "ExecStopPost" not in immortal
    assert '"poweroff": []' in immortal
    boot.owns_hosts = False
    not_ours = user_data(boot, form="script", compress=False, self_deletion=program).decode()
    assert "delete.py" not in not_ours


def test_immortal_machine_without_lifetime_never_powers_off() -> None:
    boot = boot_of(Authority("test.bigmachine"))
    text = user_data(boot, form="script", compress=False, is_immortal=True).decode()
    assert "SuccessAction=none" in text
    assert '"poweroff": []' in text
    assert not re.search("systemctl poweroff|poweroff -f|halt", text)


@pytest.mark.parametrize("owns_hosts", [True, False])
def test_host_is_powered_off_only_if_the_system_owns_it(owns_hosts: bool) -> None:
    async def main() -> None:
        vm = Vm()
        request = boot_of(Authority("test.bigmachine"))
        request.owns_hosts = owns_hosts
        try:
            await vm.power_on(request, contact_seconds=0.5, poweroff=None)
            await eventually(lambda: vm.is_off)
            assert "no driver called in 0.5 s" in vm.console()
            assert vm.switched_off.exists() == owns_hosts
            assert not (vm.disk / "run" / "boot.json").exists()  # it has a key
        finally:
            await vm.destroy()

    trio.run(main)


def test_what_a_worker_has_started_ends_with_it(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nsleep 600 &\necho $! >child\n")  # the worker ends at once
    python.chmod(0o755)
    start = {"python": str(python), "cwd": str(tmp_path), "prefix": ""}
    log = LogFiles(str(tmp_path / "log"))
    worker = WorkerProcess(start, 0, log=log, heard=lambda: None)
    worker.run(b"")
    child = int((tmp_path / "child").read_text())
    assert is_running(child)
    worker.end(0)
    until(lambda: not is_running(child))
    worker._process.stdin.close()
    worker._process.stdout.close()


def test_slow_upload_counts_as_keepalive() -> None:
    async def main() -> None:
        async with rig(timeout=2.0) as r:
            await r.identify()
            data = os.urandom(1 << 20)
            await r.wire.call("plan", manifest=manifest_of(data), builder_source=builder_source())

            async def slowly() -> AsyncIterator[bytes]:
                for begin in range(0, len(data), 64 << 10):  # in twice the timeout
                    yield data[begin : begin + (64 << 10)]
                    await trio.sleep(0.25)

            await r.wire.put(hash_of(data), offset=0, size_bytes=len(data), content=slowly())
            assert (await r.wire.call("status"))["missing"] == {}

    trio.run(main)


def test_vm_powers_off_if_service_manager_stops_boot_program() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.contact()
            os.kill(r.vm.pid or 0, signal.SIGTERM)
            await r.off()
            assert "ending: told to end" in r.vm.console()

    trio.run(main)


def test_driver_gets_in_while_strangers_hold_connections() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.contact()
            host, _, port = r.vm.address.rpartition(":")
            silent = [await trio.open_tcp_stream(host, int(port)) for _ in range(200)]
            slow = [await trio.open_tcp_stream(host, int(port)) for _ in range(100)]
            for stream in slow:  # the beginning of a TLS record
                await stream.send_all(b"\x16\x03\x01")
            with trio.fail_after(60):
                await r.contact()
                assert [await stream.receive_some() for stream in silent] == [b""] * 200
            descriptors = len(os.listdir(f"/proc/{r.vm.pid}/fd"))
            assert descriptors < MAX_CONNECTIONS + 20
            for stream in (*silent, *slow):
                await stream.aclose()

    trio.run(main)


def test_invalid_boot_calls_are_refused() -> None:
    async def main() -> None:
        async with rig() as r:
            await r.identify()
            with pytest.raises(BootStatusError, match="another format of manifests"):
                await r.wire.call("plan", manifest={"format": 2}, builder_source=builder_source())
            with pytest.raises(BootStatusError, match="no plan yet"):
                await r.wire.call("build")
            with pytest.raises(BootStatusError, match="there is only Boot"):
                await r.wire.call("nothing")

    trio.run(main)


def test_user_data_does_not_contain_key_of_authority() -> None:
    boot = boot_of(Authority("test.bigmachine"))
    text = user_data(boot, form="script", compress=False).decode()
    configuration = next(line for line in text.splitlines() if line.startswith("{"))
    assert "authority" in json.loads(configuration)
    assert "PRIVATE KEY" not in configuration
    key = json.loads(configuration)["key"]
    assert int(key, 16) == boot.credential.private_number()
