"""What machines copy of the zygote's memory at once, right after they are forked."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import sys
import tempfile

import pytest
import trio

from bigmachine_local import LocalOptions
from bigmachine_local._copied_pages import CopiedPages
from tests.integration.local import local_machines as lm
from tests.support.new_process import in_new_process

if sys.platform != "linux":
    pytest.skip("only Linux tells what a process has copied", allow_module_level=True)

WRITTEN = [20, 21, 22, 50]  # pages, by the first child or machine; the later ones write to none
OWN = 1  # a bit of the highest byte: no other process has the page (pagemap.rst of Linux)

# A zygote has it, too, since it imports this module.
memory = mmap.mmap(-1, 100 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def write(pages: list[int]) -> None:
    for page in pages:
        memory[page * mmap.PAGESIZE] = 1


def own() -> list[int]:
    """Return which of the pages this process has for itself."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        pagemap.seek(address // mmap.PAGESIZE * 8)
        highest_bytes = pagemap.read(100 * 8)[7::8]
    return [page for page, byte in enumerate(highest_bytes) if byte & OWN]


write([*range(100)])


def can_copy_at_once() -> bool:
    """Whether this kernel takes any advice of a process on itself: since Linux 6.13."""
    pidfd = os.pidfd_open(os.getpid())
    ranges = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 1)
    advised: int = ctypes.CDLL(None).syscall(440, pidfd, ranges, 1, 23, 0)
    os.close(pidfd)
    return advised > 0


at_once = pytest.mark.skipif(not can_copy_at_once(), reason="the kernel can't copy them at once")


def fork(copied: CopiedPages, pages: list[int]) -> list[int]:
    """Have a child copy, then write to ``pages``; return its own, once `copied` has looked."""
    (told, tell), (ended, end) = os.pipe(), os.pipe()
    if not (child := os.fork()):
        try:
            os.close(end)
            copied.in_child()
            write(pages)
            os.write(tell, bytes(own()))
            os.read(ended, 1)
        finally:
            os._exit(0)
    os.close(tell)
    found = [*os.read(told, 100)]
    copied.in_parent(child)
    copied.look()
    os.close(end)
    os.waitpid(child, 0)
    return found


@at_once
@in_new_process
def test_later_children_copy_at_once_what_the_first_one_has_copied() -> None:
    copied = CopiedPages(start_seconds=0)
    assert fork(copied, WRITTEN) == WRITTEN
    assert fork(copied, []) == WRITTEN
    assert fork(copied, [5]) == [5, *WRITTEN]
    assert fork(copied, []) == WRITTEN  # the first one is the example for all


@at_once
@pytest.mark.long
@in_new_process
def test_neither_names_of_files_nor_a_lack_of_descriptors_end_the_process() -> None:
    copied = CopiedPages(start_seconds=0)
    with tempfile.NamedTemporaryFile(suffix=b"\xff") as file:  # no UTF-8
        file.write(b"1")
        file.flush()
        with mmap.mmap(file.fileno(), 0):
            assert fork(copied, WRITTEN) == WRITTEN
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))
    copied.in_child()
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    assert fork(copied, []) == WRITTEN


@pytest.mark.long
@in_new_process
def test_child_that_has_ended_before_is_no_example() -> None:
    copied = CopiedPages(start_seconds=0)
    assert copied.milliseconds_left() is None
    if not (child := os.fork()):
        os._exit(0)
    copied.in_parent(child)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert copied.milliseconds_left() == 0
    copied.look()
    os.waitpid(child, 0)
    assert copied.milliseconds_left() is None
    assert fork(copied, WRITTEN) == WRITTEN
    if can_copy_at_once():
        assert fork(copied, []) == WRITTEN


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
def test_child_that_can_open_no_pidfd_goes_on(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(error, os.strerror(error))

    copied = CopiedPages(start_seconds=0)
    assert fork(copied, WRITTEN) == WRITTEN
    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert fork(copied, [5]) == [5]


class System(lm.ScriptSystem):
    entry = f"{__name__}:main"


def main(config: bytes, *, listen: str, lifeline: int) -> None:
    lm.main(config, listen=listen, lifeline=lifeline)


WRITING = f"""
from {__name__} import WRITTEN, own, write
print(own(), flush=True)
write(WRITTEN)
{lm.SLEEP}
"""


@at_once
@pytest.mark.long
def test_machines_copy_at_once_what_the_first_one_has_copied() -> None:
    async def main() -> None:
        system = System(LocalOptions(fork=True))
        await system.setup()
        try:
            request = lm.ScriptRequest(system, WRITING)
            found = b"[]"
            with trio.fail_after(60):
                while found == b"[]":  # until the zygote has looked
                    [machine] = await system.start(1, request)
                    found = await lm.first_line(system, machine)
            assert found == str(WRITTEN).encode()
        finally:
            await system.shutdown()

    trio.run(main)
