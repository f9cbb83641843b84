"""A session's driver is known by a short text, and is dead only for certain."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

import bigmachine as bm
from bigmachine._driver import Driver
from tests.support.drivers import IDLE, driver


@pytest.fixture
def other():
    """Another driver on this computer: its process, and what it says of itself."""
    with driver("-c", IDLE) as process:
        yield process, Driver.parse(process.read_line())


def test_its_text_fits_a_label_of_any_provider_and_says_it_all():
    here = Driver.here()
    assert re.fullmatch(r"[a-z0-9_-]{1,63}", str(replace(here, pid=2**22, started=2**63)))
    assert Driver.parse(str(here)) == here
    assert Driver.parse(str(here), host="laptop").host == "laptop"
    assert here.host


@pytest.mark.parametrize("text", ["", "laptop", "1-2", "1-2-xyz", "1-2-ab-cd"])
def test_a_text_that_names_none_is_refused(text):
    with pytest.raises(bm.UsageError, match="is not a driver"):
        Driver.parse(text)


def test_this_process_is_alive():
    assert Driver.here().is_here
    assert Driver.here().is_alive() is True


def test_another_is_alive_until_it_is_killed(other):
    process, name = other
    assert name.pid == process.pid
    assert name.is_alive() is True
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if sys.platform == "linux":
        assert name.is_alive() is False  # though nobody has asked for its status yet
    process.wait()
    assert name.is_alive() is False


@pytest.mark.skipif(sys.platform != "linux", reason="when a process began is in /proc")
def test_a_later_process_of_its_number_is_another_one():
    assert replace(Driver.here(), started=1).is_alive() is False


def test_without_its_start_a_process_of_its_number_is_taken_for_it():
    assert replace(Driver.here(), started=0).is_alive() is True


def test_a_process_that_belongs_to_somebody_else_is_alive():
    if os.geteuid() == 0:
        pytest.skip("to root all processes are its own")
    assert replace(Driver.here(), pid=1, started=0).is_alive() is True


def test_of_one_elsewhere_nothing_is_known():
    elsewhere = replace(Driver.here(), place="0123456789abcdef")
    assert not elsewhere.is_here
    assert elsewhere.is_alive() is None


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs PID namespaces")
def test_of_one_in_another_container_nothing_is_known():
    code = "from bigmachine._driver import Driver; print(Driver.here())"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"no PID namespace to be had: {ran.stderr}")
    inside = Driver.parse(ran.stdout.strip())
    assert inside.pid < 10
    assert inside.is_alive() is None


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs mount namespaces")
def test_where_there_is_no_proc_a_process_is_known_by_its_number():
    code = (
        "from dataclasses import replace; from bigmachine._driver import Driver; "
        "here = Driver.here(); other = replace(here, pid=2**22 - 1); "
        "print(here.started, here == Driver.here(), here.is_alive(), other.is_alive())"
    )
    script = f"umount -l /proc && exec {sys.executable} -c '{code}'"
    command = ["unshare", "--mount", "sh", "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if "umount" in ran.stderr or "unshare" in ran.stderr:
        pytest.skip(f"/proc can't be taken away: {ran.stderr}")
    assert ran.stdout.strip() == "0 True True False", ran.stderr
