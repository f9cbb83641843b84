"""A machine ends the moment that its driver does, whichever kind of lifeline it has."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bigmachine.worker import _lifeline

PROGRAM = """
import runpy, sys, threading, time
runpy.run_path(sys.argv[1])["tie_to"](0)
print(threading.active_count(), flush=True)
time.sleep(1000)
"""
SECONDS = 60.0


@contextlib.contextmanager
def tied(lifeline: int) -> Iterator[subprocess.Popen[str]]:
    """Run a process that is tied to this lifeline, and leads its group, as machines do."""
    with subprocess.Popen(
        [sys.executable, "-ISc", PROGRAM, _lifeline.__file__],
        stdin=lifeline,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread does it")
def test_process_without_thread_is_killed_with_lifeline_even_if_stopped():
    reading, writing = os.pipe()
    with tied(reading) as process:
        os.close(reading)
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGSTOP)
        os.close(writing)
        assert process.wait(SECONDS) == -signal.SIGKILL


def test_process_ends_whose_lifeline_has_ended_before():
    reading, writing = os.pipe()
    os.close(writing)
    with tied(reading) as process:
        os.close(reading)
        assert process.wait(SECONDS) == -signal.SIGKILL


def test_process_ends_with_lifeline_that_is_no_pipe():
    ours, theirs = socket.socketpair()
    with tied(theirs.fileno()) as process:
        theirs.close()
        assert process.stdout.readline() == "2\n"
        ours.close()
        assert process.wait(SECONDS) == -signal.SIGKILL
