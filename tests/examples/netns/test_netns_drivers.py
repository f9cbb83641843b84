"""Namespaces, links and processes are freed when their driver is killed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.netns.conftest import EXAMPLE, SOON, Computer
from tests.support.drivers import DriverProcess, driver
from tests.support.processes import is_running
from tests.support.waiting import until

pytestmark = pytest.mark.long

DRIVER = """
import sys, time
import bigmachine as bm
from tests.examples.netns.netns_services import Host

with bm.Session("netns", name=sys.argv[1]) as session:
    machines = session.start(int(sys.argv[2]), services={"Host": Host()})
    pids = [m.call("Host.pid") for m in machines]
    pids += [m.call("Host.start_detached") for m in machines]
    if sys.argv[3]:
        for machine in machines:
            machine.call("Host." + sys.argv[3])
    try:
        print(*[m.addr for m in machines], flush=True)
        print(*pids, flush=True)
        time.sleep(1000)
    finally:
        print("closing", flush=True)
"""


def driver_on(
    computer: Computer, *, count: int = 2, then: str = ""
) -> contextlib.AbstractContextManager[DriverProcess]:
    """Run a driver, which prints the addresses of its machines, and then their pids."""
    environ = {"PYTHONPATH": os.pathsep.join(sys.path)}
    # What is left frees its namespaces by itself.
    arguments = ("-c", DRIVER, computer.mark, str(count), then)
    return driver(*arguments, environ=environ, kills_leftovers=False)


@pytest.mark.parametrize("then", ["", "hold_interpreter", "freeze"])
def test_killed_driver_leaves_nothing(computer: Computer, then: str) -> None:
    with driver_on(computer, then=then) as process:
        assert len(process.read_line().split()) == 2
        pids = process.read_pids()
        assert len(computer.namespaces()) == 2
        process.kill()
        assert computer.becomes_clean(), computer.leftovers()
        assert not any(map(is_running, pids))


@pytest.mark.parametrize("namespaces", [0, 1, 2, 4])
def test_driver_killed_during_start_leaves_nothing(computer: Computer, namespaces: int) -> None:
    with driver_on(computer, count=5) as process:
        until(lambda: computer.processes() != [])
        until(lambda: len(computer.namespaces()) >= namespaces)
        process.kill()
        assert computer.becomes_clean(), computer.leftovers()


def test_ctrl_c_ends_driver_and_frees_everything(computer: Computer) -> None:
    with driver_on(computer) as process:
        process.read_line()
        pids = process.read_pids()
        os.killpg(process.pid, signal.SIGINT)  # like a terminal, to the whole process group
        assert process.read_line() == "closing"
        process.wait(SOON)
        assert computer.leftovers() == []  # at once, since the session has freed everything
        assert not any(map(is_running, pids))


def test_concurrent_drivers_share_switch_but_no_address(computer: Computer) -> None:
    with contextlib.ExitStack() as drivers:
        processes = [drivers.enter_context(driver_on(computer, count=3)) for _ in range(3)]
        addrs = [addr for process in processes for addr in process.read_line().split()]
        hosts = {addr.partition("#")[0] for addr in addrs}
        assert len(hosts) == 9
        processes[0].kill()
        until(lambda: len(computer.namespaces()) == 6)
        for process in processes[1:]:
            process.send_signal(signal.SIGINT)
            process.wait(SOON)
        assert computer.leftovers() == []


def test_backend_is_shorter_than_40_lines() -> None:
    source = (EXAMPLE / "src/bigmachine_netns/_system.py").read_text()
    [text] = re.findall(r"^class NetnsSystem\(.*\n(?:(?:    .*)?\n)*", source, re.M)
    assert 20 < len([line for line in text.splitlines() if line.strip()]) < 40


@pytest.mark.parametrize(
    ("subnet", "problem"),
    [
        ("nonsense", "must be like"),
        ("10.213.0.1/16", "host bits set"),
        ("fd00::/64", "must be like"),
        ("10.213.0.0/30", "too few addresses"),
        ("1.1.0.0/16", "out in the Internet"),
    ],
)
def test_invalid_subnet_is_refused_with_reason(subnet: str, problem: str) -> None:
    import bigmachine as bm

    with pytest.raises(bm.UsageError, match=problem), bm.Session("netns", subnet=subnet):
        pass


def test_subnet_of_this_computer_is_refused(computer: Computer) -> None:
    import bigmachine as bm

    listing = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True)
    taken = re.findall(r"^(\S+/\d+) dev (?!bigmachine)", listing.stdout, re.M)
    if not taken:
        pytest.skip("this computer is in no network")
    match = f"overlaps with {re.escape(taken[0])}|out in the Internet|too few"
    with pytest.raises(bm.UsageError, match=match), bm.Session("netns", subnet=taken[0]):
        pass


def test_missing_command_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import bigmachine as bm

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bm.UsageError, match="install iproute2"), bm.Session("netns"):
        pass


UNPRIVILEGED = """
import os, trio
from bigmachine_netns import NetnsSystem
import bigmachine as bm
os.setgid(65534), os.setuid(65534)
try:
    trio.run(NetnsSystem().setup)
except bm.UsageError as exc:
    print(exc)
"""


def test_error_without_root_suggests_sudo(computer: Computer) -> None:
    run = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "needs root: run the driver with sudo" in run.stdout, run.stderr


def test_error_without_capability_suggests_privileged_container(computer: Computer) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("there is no command 'setpriv'")
    program = UNPRIVILEGED.replace("os.setgid(65534), os.setuid(65534)", "")
    run = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "run it with --privileged" in run.stdout, run.stderr
