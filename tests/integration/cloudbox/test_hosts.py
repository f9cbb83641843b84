"""A host boots like a virtual machine, and can end in all the same ways."""

from __future__ import annotations

import subprocess

import pytest
import trio

from tests.integration.cloudbox.conftest import TIMEOUT, EchoCloud, connect, fetch, wait_until_up
from tests.support.cloudbox import Box, Ec2
from tests.support.cloudbox.fixtures import InBox

USER_DATA = b"""\
#!/bin/sh
echo "the user data runs as $(id -un)"
systemd-run --quiet --working-directory=/etc python3 -m http.server 80
"""


def test_server_started_by_user_data_is_reachable_from_driver_and_other_host(
    in_box: InBox,
) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(Ec2(user_data=USER_DATA))
        other = await box.boot(EchoCloud())
        with trio.fail_after(TIMEOUT):
            await host.wait_console("the user data runs as root")
        async with connect(host, 80) as stream:
            await stream.send_all(b"GET /hostname HTTP/1.0\r\n\r\n")
            assert b"ip-10-215-" in b"".join([part async for part in stream])
        status, name = await fetch(other, f"http://{host.address}/hostname")
        assert status == 200
        assert name.startswith("ip-10-215-")

    in_box(main)


def test_image_has_python_but_no_installers(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud())
        assert await host.run("python3", "-c", "print('here')") == "here\n"
        for module in ("pip", "ensurepip", "uv"):
            with pytest.raises(subprocess.CalledProcessError, match="non-zero"):
                await host.run("python3", "-c", f"import {module}")

    in_box(main)


def test_host_of_other_cloud_runs_no_google_agent(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud())
        await wait_until_up(host)
        units = await host.run("systemctl", "list-units", "--all", "--no-legend", "google-*")
        assert units == ""

    in_box(main)


def test_connections_out_of_box_fail_at_once(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud())
        for address in ("192.0.2.1", "packages.example"):
            connect_code = f"import socket; socket.create_connection(({address!r}, 80), timeout=10)"
            with pytest.raises(subprocess.CalledProcessError) as error:
                await host.run("python3", "-c", connect_code)
            assert "timed out" not in error.value.stderr
            assert "unreachable" in error.value.stderr or "resolution" in error.value.stderr

    in_box(main)


def test_host_that_powers_itself_off_is_reported_as_off(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud())
        await wait_until_up(host)
        assert not host.is_off
        assert any(host.group in line for line in box.leftovers())
        await host.run("systemctl", "poweroff")
        with trio.fail_after(TIMEOUT):
            await host.wait_off()
        assert host.is_off
        assert not any(host.group in line for line in box.leftovers())

    in_box(main)


def test_host_shuts_down_cleanly_when_power_button_is_pressed(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud())
        await wait_until_up(host)
        await host.press_power_button()
        with trio.fail_after(TIMEOUT):
            await host.wait_off()
        assert "Power Off" in host.console()

    in_box(main)


def test_killed_host_sends_nothing_and_other_hosts_continue(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        lost, other = [await box.boot(EchoCloud()) for _ in range(2)]
        async with connect(lost) as to_lost, connect(other) as to_other:
            with trio.fail_after(TIMEOUT):
                await lost.kill()
                assert lost.is_off
                await to_lost.send_all(b"hello?")
                with trio.move_on_after(0.5):
                    pytest.fail(f"received {await to_lost.receive_some()!r}")
                await to_other.send_all(b"hello?")
                assert await to_other.receive_some() == b"hello?"
                with pytest.raises(RuntimeError, match="is off"):
                    await lost.run("true")

    in_box(main)


def test_host_survives_full_disk(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud(), disk_bytes=64 << 20)
        await wait_until_up(host)
        with pytest.raises(subprocess.CalledProcessError) as error:
            await host.run("dd", "if=/dev/zero", "of=/var/big", "bs=1M", "count=100")
        assert "No space left on device" in error.value.stderr
        await host.run("rm", "/var/big")
        await host.run("dd", "if=/dev/zero", "of=/var/small", "bs=1M", "count=10")

    in_box(main)


def test_boot_failure_is_on_console(in_box: InBox) -> None:
    class Broken(EchoCloud):
        nspawn_options = ("--no-such-option",)

    async def main(box: Box) -> None:
        host = await box.boot(Broken())
        with trio.fail_after(TIMEOUT):
            await host.wait_off()
        assert "no-such-option" in host.console()
        with pytest.raises(RuntimeError, match="no-such-option"):
            await host.wait_console("ready")

    in_box(main)
