"""What a forked child of the driver keeps of it."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from bigmachine.process import close_in_children

# Python 3.12 warns of a fork of a process with threads, which pytest-xdist has.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def test_child_holds_no_end_of_parents_connection():
    ours, theirs = socket.socketpair()
    close_in_children(ours)
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.read(reading, 1)  # until the parent has seen the end of the connection
        os._exit(0)
    ours.close()
    theirs.settimeout(60)
    assert theirs.recv(1) == b""
    os.write(writing, b"x")
    assert os.waitpid(pid, 0)[1] == 0
    for fd in (reading, writing):
        os.close(fd)
    theirs.close()


def test_child_can_close_what_it_was_not_given_and_write_nothing_to_it():
    ours, theirs = socket.socketpair()
    close_in_children(ours)
    with ours, theirs:
        if (pid := os.fork()) == 0:
            status = 1
            try:
                ours.send(b"to the parent's peer")
            except OSError:
                ours.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        theirs.setblocking(False)
        ours.send(b"from the parent")
        assert theirs.recv(100) == b"from the parent"


def test_program_started_with_preexec_function_keeps_nothing():
    ours, theirs = socket.socketpair()
    close_in_children(ours)
    with ours, theirs:
        command = ["test", "!", "-e", f"/proc/self/fd/{ours.fileno()}"]
        assert subprocess.call(command, preexec_fn=os.getpid) == 0
