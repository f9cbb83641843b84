"""With whom a process shares memory."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigmachine.rpc.memory._peer import memory_cgroup

if sys.platform != "linux":
    pytest.skip("only Linux has cgroups", allow_module_level=True)

from bigmachine.rpc.memory._peer import may_share_memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0::/user.slice\n", "0::/user.slice"),
        ("9:pids:/a\n4:cpu,memory:/b\n0::/c\n", "4:cpu,memory:/b"),
        ("1:name=systemd:/memory\n0::/a:memory\n", "0::/a:memory"),
        ("1:name=systemd:/\n", ""),
        ("", ""),
    ],
)
def test_memory_cgroup_is_found_in_both_versions(text: str, expected: str) -> None:
    assert memory_cgroup(text) == expected


PEER = """
import pathlib, socket, sys
name, folder = sys.argv[1:]
if folder:
    pathlib.Path(folder, "cgroup.procs").write_text("0")
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind("\\0" + name)
listener.listen()
print(flush=True)
listener.accept()[0].recv(1)
"""


@pytest.fixture
def cgroup() -> Iterator[str]:
    memory = Path("/sys/fs/cgroup/memory")
    root = memory if memory.is_dir() else Path("/sys/fs/cgroup")
    folder = root / f"bigmachine-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this user can make no cgroup")
    yield str(folder)
    folder.rmdir()


@contextlib.contextmanager
def peer(folder: str) -> Iterator[socket.socket]:
    """Connect to a process that is in a cgroup of its own, if this is given."""
    name = f"bigmachine-test-{os.getpid()}"
    command = [sys.executable, "-S", "-c", PEER, name, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect("\0" + name)
            yield sock
        process.wait()


@pytest.mark.long
def test_memory_is_shared_with_processes_of_the_same_cgroup() -> None:
    with peer("") as sock:
        assert may_share_memory(sock)


@pytest.mark.long
def test_no_memory_is_shared_with_another_container(cgroup: str) -> None:
    with peer(cgroup) as sock:
        assert not may_share_memory(sock)
