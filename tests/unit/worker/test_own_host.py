"""A worker prepares a host that was made for it, and no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bigmachine.boot import user_data
from bigmachine.worker._own_host import REBOOTERS, UNIT
from tests.unit.boot.test_program import Authority, boot_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="VMs run Linux")

PROGRAM = """
import json, resource, sys, threading
from pathlib import Path
from bigmachine.worker._own_host import prepare_host

resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
prepare_host(Path(sys.argv[1]), Path(sys.argv[2]))
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join()
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
print(json.dumps([limits, Path("/proc/self/oom_score_adj").read_text()]))
"""


@pytest.fixture
def prepare(tmp_path):
    """Prepare a host in a process of its own; return its limits, score and systemctl's calls."""
    log, folder = tmp_path / "log", tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{log}\nexit 1\n')
    (folder / "systemctl").chmod(0o755)
    (tmp_path / "nr_open").write_text("1048576\n")

    def prepare(unit):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(unit), str(tmp_path / "nr_open")],
            env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
        limits, score = json.loads(done.stdout)
        return limits, int(score), log.read_text() if log.exists() else ""

    return prepare


def test_own_host_allows_many_files_and_never_reboots(prepare, tmp_path):
    import resource

    (tmp_path / "unit").touch()
    (soft, hard), score, told = prepare(tmp_path / "unit")
    assert soft == min(hard, 1 << 20)
    assert hard >= resource.getrlimit(resource.RLIMIT_NOFILE)[1] or hard == 1 << 24
    assert int((tmp_path / "nr_open").read_text()) == 1 << 24
    assert score == 1000
    assert told.split() == ["mask", "--runtime", "--now", *REBOOTERS]


def test_host_of_others_is_not_changed(prepare, tmp_path):
    (soft, _), score, told = prepare(tmp_path / "unit")
    assert soft == 64
    assert score < 1000
    assert not told
    assert int((tmp_path / "nr_open").read_text()) == 1 << 20


def test_user_data_installs_the_unit_that_marks_an_own_host():
    assert f"cat >{UNIT} ".encode() in user_data(boot_of(Authority("a.bigmachine")), compress=False)
