"""Kills by the kernel for lack of memory are distinguished from other kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from bigmachine.errors import StopReason
from bigmachine_local._oom import OomWatch
from tests.integration.local import local_machines as lm

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

LIMIT_BYTES = 64 << 20
EAT = f"import sys; sys.stdin.readline(); b'x' * {8 * LIMIT_BYTES}"
EAT_ON_CONTACT = f"""
import socket
server = socket.socket(fileno=int(listen.removeprefix("fd:")))
server.setblocking(True)
server.accept()
b"x" * {8 * LIMIT_BYTES}
"""


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of 64 MiB, of either version."""
    version_1 = Path("/sys/fs/cgroup/memory")
    parent = version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")
    folder = parent / f"bigmachine-test-{os.getpid()}"
    limit = folder / ("memory.limit_in_bytes" if parent == version_1 else "memory.max")
    try:
        folder.mkdir()
    except OSError as exc:
        pytest.skip(f"can't make a cgroup: {exc}")
    try:
        limit.write_text(str(LIMIT_BYTES))
        yield folder
    except OSError as exc:
        pytest.skip(f"can't limit a cgroup's memory: {exc}")
    finally:
        folder.rmdir()


def eater(cgroup: Path) -> subprocess.Popen[bytes]:
    """Start a process in the cgroup that exceeds its memory limit once it is sent a line."""
    process = subprocess.Popen([sys.executable, "-c", EAT], stdin=subprocess.PIPE)
    (cgroup / "cgroup.procs").write_text(str(process.pid))
    return process


def test_out_of_memory_kill_is_reported(small_cgroup: Path) -> None:
    async def main() -> None:
        async with lm.opened() as system:
            instance = await lm.start_one(system, EAT_ON_CONTACT)
            (small_cgroup / "cgroup.procs").write_text(instance.id)
            host, port = instance.address.split(":")
            async with await trio.open_tcp_stream(host, int(port)):
                await lm.ended(int(instance.id))
            gone = await system.keepalive_failed(instance)
            assert gone is not None
            assert gone.reason is StopReason.OOM
            assert gone == await system.keepalive_failed(instance)

    trio.run(main)


@pytest.mark.parametrize("has_kernel_log", [True, False])
def test_kernel_log_and_cgroup_counter_each_identify_victim(
    small_cgroup: Path, has_kernel_log: bool
) -> None:
    watch = OomWatch()
    if not has_kernel_log:
        watch.close()
    victim, other = eater(small_cgroup), eater(small_cgroup)
    with victim, other:
        watch.watch(victim.pid)
        watch.watch(other.pid)
        victim.communicate(b"\n")
        other.kill()
        other.communicate()
        assert victim.returncode == other.returncode == -signal.SIGKILL
        assert watch.is_victim(victim.pid)
        assert not watch.is_victim(other.pid)
        assert watch.is_victim(victim.pid)
    watch.close()


def test_process_killed_by_another_process_is_no_oom_victim() -> None:
    watch = OomWatch()
    with subprocess.Popen(["sleep", "1000"]) as process:
        watch.watch(process.pid)
        process.kill()
        process.wait()
        assert not watch.is_victim(process.pid)
    watch.close()
