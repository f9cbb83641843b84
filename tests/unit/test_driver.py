"""A short text identifies a driver; a driver is reported dead only if this is certain."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import bigmachine as bm
from bigmachine._driver import Driver

DRIVER = "from bigmachine._driver import Driver; print(Driver.here(), flush=True); input()"


@pytest.fixture
def other():
    """Another driver on this computer: its process and its `Driver`."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process, Driver.parse(process.stdout.readline().strip())
        process.kill()


def test_driver_text_fits_labels_of_all_providers_and_can_be_parsed():
    here = Driver.here()
    assert re.fullmatch(r"[a-z0-9_-]{1,63}", str(replace(here, pid=2**22, started=2**63)))
    assert Driver.parse(str(here)) == here
    assert Driver.parse(str(here), host="laptop").host == "laptop"
    assert here.host


@pytest.mark.parametrize("text", ["", "laptop", "1-2", "1-2-xyz", "1-2-ab-cd"])
def test_text_that_is_not_a_driver_is_refused(text):
    with pytest.raises(bm.UsageError, match="is not a driver"):
        Driver.parse(text)


def test_driver_of_this_process_is_alive():
    assert Driver.here().is_here
    assert Driver.here().is_alive() is True


def test_other_driver_is_alive_until_it_is_killed(other):
    process, driver = other
    assert driver.pid == process.pid
    assert driver.is_alive() is True
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if sys.platform == "linux":
        assert driver.is_alive() is False  # although its exit status was not read yet
    process.wait()
    assert driver.is_alive() is False


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
