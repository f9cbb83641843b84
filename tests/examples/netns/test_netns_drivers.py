"""What becomes of namespaces, links and processes when their driver ends without a word."""

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
    pids += [m.call("Host.start_deserter") for m in machines]
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


@pytest.mark.parametrize("then", ["", "hog", "freeze"])
def test_nothing_is_left_of_a_driver_that_was_killed(computer: Computer, then: str) -> None:
    with driver_on(computer, then=then) as process:
        assert len(process.read_line().split()) == 2
        pids = process.read_pids()
        assert len(computer.namespaces()) == 2
        process.kill()
        assert computer.settles(), computer.left()
        assert not any(map(is_running, pids))


@pytest.mark.parametrize("namespaces", [0, 1, 2, 4])
def test_nothing_is_left_of_a_driver_that_was_killed_while_machines_start(
    computer: Computer, namespaces: int
) -> None:
    with driver_on(computer, count=5) as process:
        until(lambda: computer.processes() != [])
        until(lambda: len(computer.namespaces()) >= namespaces)
        process.kill()
        assert computer.settles(), computer.left()


def test_ctrl_c_ends_a_driver_and_all_that_it_made(computer: Computer) -> None:
    with driver_on(computer) as process:
        process.read_line()
        pids = process.read_pids()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        assert process.read_line() == "closing"
        process.wait(SOON)
        assert computer.left() == []  # at once: the session has seen to it
        assert not any(map(is_running, pids))


def test_several_drivers_at_once_share_the_switch_and_no_address(computer: Computer) -> None:
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
        assert computer.left() == []


def test_the_backend_takes_less_than_40_lines() -> None:
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
def test_a_subnet_that_cannot_be_is_refused_with_the_reason(subnet: str, problem: str) -> None:
    import bigmachine as bm

    with pytest.raises(bm.UsageError, match=problem), bm.Session("netns", subnet=subnet):
        pass


def test_a_subnet_that_the_computer_is_in_is_refused(computer: Computer) -> None:
    import bigmachine as bm

    listing = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True)
    taken = re.findall(r"^(\S+/\d+) dev (?!bigmachine)", listing.stdout, re.M)
    if not taken:
        pytest.skip("this computer is in no network")
    match = f"overlaps with {re.escape(taken[0])}|out in the Internet|too few"
    with pytest.raises(bm.UsageError, match=match), bm.Session("netns", subnet=taken[0]):
        pass


def test_a_missing_command_is_named_with_what_to_install(
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


def test_a_driver_without_root_is_told_how_to_get_it(computer: Computer) -> None:
    run = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "needs root: run the driver with sudo" in run.stdout, run.stderr


def test_a_driver_without_the_capability_is_told_so(computer: Computer) -> None:
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
