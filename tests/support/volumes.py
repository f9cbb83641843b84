"""New, empty volumes: loop devices, for tests of a machine's data disk."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigmachine.cloud.guest import _stripe

SIZE_BYTES = 64 << 20


def _has_loops() -> bool:
    return os.path.exists("/dev/loop-control") and os.getuid() == 0


needs_loops = pytest.mark.skipif(not _has_loops(), reason="takes root and loop devices")
needs_mapper = pytest.mark.skipif(
    not os.path.exists("/dev/mapper/control"), reason="the kernel has no device mapper"
)


def command(*words: str | Path) -> str:
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def volumes(folder: Path, count: int = 1) -> Iterator[list[str]]:
    """Attach new volumes; in the end, unmount everything below the folder."""
    with contextlib.ExitStack() as stack:
        devices = []
        for index in range(count):
            image = folder / f"volume{index}"
            image.write_bytes(b"")
            os.truncate(image, SIZE_BYTES)
            device = command("losetup", "--find", "--show", image)
            stack.callback(command, "losetup", "--detach", device)
            devices.append(device)
        stack.callback(_remove_stripe)
        stack.callback(unmount, folder / "data")
        yield devices


def unmount(folder: Path) -> None:
    while folder.is_mount():
        command("umount", folder)


def _remove_stripe() -> None:
    with contextlib.suppress(OSError):
        control = os.open("/dev/mapper/control", os.O_RDWR)
        try:
            _stripe._dm(control, _stripe._DM_REMOVE)
        finally:
            os.close(control)
