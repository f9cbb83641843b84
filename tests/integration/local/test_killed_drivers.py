"""Drivers killed at random moments leave nothing of what their services have started."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time

import pytest

import bigmachine as bm
from tests.support.drivers import driver
from tests.support.processes import is_running, marked
from tests.support.waiting import until

PROGRAM = """
import sys
import bigmachine as bm
from tests.integration.local.test_killed_drivers import Starter

print(flush=True)
with bm.Session("local", fork=eval(sys.argv[1])) as session:
    for machine in session.start(2, services={"Starter": Starter()}):
        machine.call("Starter.start")
"""
KILLS = 25
SEED = 11


class Starter:
    """Starts processes: a child, and orphans in its process group and in one of their own."""

    def start(self):
        subprocess.Popen(["sleep", "1000"])
        subprocess.run(["sh", "-c", "setsid sleep 1000 & sleep 1000 &"], check=True)

    def daemon(self):
        """Start a daemon; return its process id."""
        command = ["sh", "-c", "setsid sleep 1000 > /dev/null & echo $!"]
        return int(subprocess.check_output(command))


@pytest.mark.parametrize("fork", [None, pytest.param(False, marks=pytest.mark.long)])
def test_daemon_of_a_service_ends_with_session(fork):
    with bm.Session("local", fork=fork) as session:
        [machine] = session.start(1, services={"Starter": Starter()})
        daemon = machine.call("Starter.daemon")
        assert is_running(daemon)
    until(lambda: not is_running(daemon))  # it is killed, which may take a moment


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fork", ["None", "False"])
def test_driver_killed_at_any_moment_leaves_no_process(fork):
    moments = random.Random(SEED)
    with driver("-c", PROGRAM, fork) as process:  # the whole of it, to know how long that takes
        process.read_line()
        began = time.monotonic()
        assert process.wait() == 0
        seconds = time.monotonic() - began
    for number in range(KILLS):
        environ = {"BIGMACHINE_TEST_KILL": f"{os.getpid()}-{number}"}
        with driver("-c", PROGRAM, fork, environ=environ) as process:
            process.read_line()
            with contextlib.suppress(subprocess.TimeoutExpired):
                # Also while it shuts down; it may be slower than before.
                process.wait(moments.uniform(0, 1.3 * seconds))
            process.kill()
            [mark] = (f"{name}={value}" for name, value in environ.items())
            until(lambda mark=mark: not marked(mark))
