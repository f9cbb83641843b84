"""A short text identifies a driver; a driver is reported dead only if this is certain."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

import bigmachine as bm
from bigmachine._driver import Driver, program_text
from tests.support.drivers import IDLE, driver


@pytest.fixture
def other():
    """Another driver on this computer: its process and its `Driver`."""
    with driver("-c", IDLE) as process:
        yield process, Driver.parse(process.read_line())


def test_driver_text_fits_labels_of_all_providers_and_can_be_parsed():
    here = Driver.here()
    assert re.fullmatch(r"[a-z0-9_-]{1,63}", str(replace(here, pid=2**22, started=2**63)))
    assert Driver.parse(str(here)) == here
    assert Driver.parse(str(here), host="laptop").host == "laptop"
    assert here.host


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/home/me/train.py", "--epochs", "3", "-v"], "train.py --epochs -v"),
        (["x.py", "--token=hunter2", "-phunter2", "hunter2", "key=hunter2"], "x.py --token -p"),
        (["x.py", "https://me:hunter2@host", "--", "-----BEGIN KEY-----", "-1", "-"], "x.py"),
        (["/site-packages/tool/__main__.py", "run"], "tool"),
        (["-c", "hunter2"], "python"),
        (["-"], "python"),
        ([""], "python"),
        ([], "python"),
    ],
)
def test_command_has_no_value_of_the_command_line(argv, command):
    assert program_text(argv) == command


def test_user_without_an_entry_has_no_name(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)  # as containers may run
    assert Driver.here().user == ""


@pytest.mark.parametrize(
    "text", ["", "laptop", "1-2", "1-2-xyz", "1-2-ab-cd", "9" * 5000 + "-2-ab"]
)
def test_text_that_is_not_a_driver_is_refused(text):
    with pytest.raises(bm.UsageError, match="is not a driver"):
        Driver.parse(text)


def test_driver_of_this_process_is_alive():
    assert Driver.here().is_here
    assert Driver.here().is_alive() is True


def test_other_driver_is_alive_until_it_is_killed(other):
    process, name = other
    assert name.pid == process.pid
    assert name.is_alive() is True
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if sys.platform == "linux":
        assert name.is_alive() is False  # although its exit status was not read yet
    process.wait()
    assert name.is_alive() is False


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc for start times of processes")
def test_later_process_with_same_pid_is_not_the_driver():
    assert replace(Driver.here(), started=1).is_alive() is False


def test_driver_without_start_time_is_identified_by_pid():
    assert replace(Driver.here(), started=0).is_alive() is True


def test_driver_of_other_user_is_alive():
    if os.geteuid() == 0:
        pytest.skip("root may signal all processes")
    assert replace(Driver.here(), pid=1, started=0).is_alive() is True


def test_state_of_remote_driver_is_unknown():
    elsewhere = replace(Driver.here(), place="0123456789abcdef")
    assert not elsewhere.is_here
    assert elsewhere.is_alive() is None


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs PID namespaces")
def test_state_of_driver_in_other_container_is_unknown():
    code = "from bigmachine._driver import Driver; print(Driver.here())"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"cannot create a PID namespace: {ran.stderr}")
    inside = Driver.parse(ran.stdout.strip())
    assert inside.pid < 10
    assert inside.is_alive() is None


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs mount namespaces")
def test_driver_is_identified_by_pid_if_proc_is_missing():
    code = (
        "from dataclasses import replace; from bigmachine._driver import Driver; "
        "here = Driver.here(); other = replace(here, pid=2**22 - 1); "
        "print(here.started, here == Driver.here(), here.is_alive(), other.is_alive())"
    )
    script = f"umount -l /proc && exec {sys.executable} -c '{code}'"
    command = ["unshare", "--mount", "sh", "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if "umount" in ran.stderr or "unshare" in ran.stderr:
        pytest.skip(f"cannot unmount /proc: {ran.stderr}")
    assert ran.stdout.strip() == "0 True True False", ran.stderr
