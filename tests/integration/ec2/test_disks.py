"""A machine's data volumes are found by name, striped, formatted if new, and mounted."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigmachine_ec2 import _disks, _stripe
from bigmachine_ec2._commands import GuestError
from bigmachine_ec2._disks import find_local_disks, mount_data, volume_name

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
        stack.callback(_unmount, folder / "data")
        yield devices


def _unmount(folder: Path) -> None:
    while folder.is_mount():
        command("umount", folder)


def _remove_stripe() -> None:
    with contextlib.suppress(OSError):
        control = os.open("/dev/mapper/control", os.O_RDWR)
        try:
            _stripe._dm(control, _stripe._DM_REMOVE)
        finally:
            os.close(control)


def mount(names: list[str], at: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    mount_data(names, at=str(at), attach_deadline=deadline, deadline=deadline + 60.0)


# -- names ----------------------------------------------------------------------------


def identity(model: str, name: bytes) -> bytes:
    """Return the identification data of an NVMe controller, as AWS's ebsnvme-id reads it."""
    fields = struct.pack("<HH20s40s", 0x1D0F, 0x1D0F, b"vol0123", model.ljust(40).encode())
    return fields.ljust(3072, b"\0") + name.ljust(1024, b"\0")


@pytest.mark.parametrize("said", [b"sdf", b"/dev/sdf", b"xvdf", b"/dev/sdf".ljust(32)])
def test_ebs_volume_is_found_by_its_attachment_name(said):
    assert volume_name(identity("Amazon Elastic Block Store", said)) == "/dev/sdf"


def test_instance_store_is_not_an_ebs_volume():
    assert volume_name(identity("Amazon EC2 NVMe Instance Storage", b"sdf")) is None


def test_local_disks_are_found_by_their_model(monkeypatch):
    models = ("Amazon Elastic Block Store", *["Amazon EC2 NVMe Instance Storage"] * 2, "Another")
    disks = {f"/dev/nvme{n}n1": identity(model, b"sdf") for n, model in enumerate(models)}
    monkeypatch.setattr(_disks, "_nvme_disks", lambda: disks)
    assert find_local_disks() == ["/dev/nvme1n1", "/dev/nvme2n1"]
    assert _disks._nvme_volumes() == {"/dev/sdf": "/dev/nvme0n1"}


def test_machine_without_local_disks_is_an_error(monkeypatch):
    monkeypatch.setattr(_disks, "_nvme_disks", dict)
    with pytest.raises(GuestError, match="no local NVMe disk; the block devices are"):
        find_local_disks()


def test_xen_volume_is_found_by_its_letter(tmp_path, monkeypatch):
    (tmp_path / "xvdf").touch()
    assert _disks._xen_volume(f"{tmp_path}/sdf") is None
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/xvdf" or real(path))
    assert _disks._xen_volume("/dev/sdf") == "/dev/xvdf"


def test_missing_volume_is_an_error_that_names_it(tmp_path):
    with pytest.raises(GuestError, match=r"data volumes /dev/sdzz are not attached; the block"):
        mount(["/dev/sdzz"], tmp_path / "data", seconds=0.0)


@needs_loops
def test_late_volume_is_awaited(tmp_path, monkeypatch):
    with volumes(tmp_path) as [device]:
        name = tmp_path / "sdf"
        polls = []

        def present():
            polls.append(1)
            if len(polls) == 3:
                name.symlink_to(device)
            return {}

        monkeypatch.setattr(_disks, "_nvme_volumes", present)
        assert _disks.find_volumes([str(name)], deadline=time.monotonic() + 60) == [device]


# -- file systems ---------------------------------------------------------------------


@needs_loops
def test_new_volume_is_formatted_and_mounted(tmp_path):
    at = tmp_path / "data"
    with volumes(tmp_path) as [device]:
        mount([device], at)
        (at / "file").write_text("here")
        assert at.is_mount()
        assert shutil.disk_usage(at).free > 0.7 * SIZE_BYTES
        assert command("findmnt", "-no", "SOURCE,FSTYPE", at).split() == [device, "ext4"]


@needs_loops
def test_local_disk_alone_is_a_data_disk(tmp_path):
    at = tmp_path / "data"
    with volumes(tmp_path) as [device]:
        deadline = time.monotonic() + 60
        mount_data((), local=[device], at=str(at), attach_deadline=0.0, deadline=deadline)
        assert command("findmnt", "-no", "SOURCE,FSTYPE", at).split() == [device, "ext4"]


def test_fast_disks_and_slow_disks_are_striped_apart(tmp_path):
    chunk, sector = _stripe.CHUNK_BYTES, 512
    devices = {"fast0": 8, "fast1": 8, "slow0": 3, "slow1": 3, "slow2": 4}  # sizes, in chunks
    for name, chunks in devices.items():
        (tmp_path / name).write_bytes(b"")
        os.truncate(tmp_path / name, chunks * chunk + sector)
    names = [str(tmp_path / name) for name in devices]
    first, second = _stripe.dm_table([names[:2], names[2:]])
    heads = [struct.unpack_from("=QQiI16s", target) for target in (first, second)]
    per_chunk = chunk // sector
    assert [head[:2] for head in heads] == [
        (0, 16 * per_chunk),
        (16 * per_chunk, 9 * per_chunk),  # as many rows as the smallest of them has
    ]
    assert [head[3] for head in heads] == [len(first), len(second)]
    assert all(head[4].rstrip(b"\0") == b"striped" for head in heads)
    table = first[40:].rstrip(b"\0").decode()
    assert table == f"2 {per_chunk} {names[0]} 0 {names[1]} 0"


@needs_loops
@needs_mapper
def test_local_disks_come_before_the_volumes(tmp_path):
    at = tmp_path / "data"
    with volumes(tmp_path, 3) as [local, *others]:
        deadline = time.monotonic() + 60
        mount_data(others, local=[local], at=str(at), attach_deadline=deadline, deadline=deadline)
        assert shutil.disk_usage(at).free > 0.7 * 3 * SIZE_BYTES


@needs_loops
@needs_mapper
def test_several_volumes_are_striped(tmp_path):
    at = tmp_path / "data"
    with volumes(tmp_path, 3) as devices:
        mount(devices, at)
        assert shutil.disk_usage(at).free > 0.7 * 3 * SIZE_BYTES
        data = os.urandom(48 << 20)
        (at / "file").write_bytes(data)
        _unmount(at)
        # Each has a third of it, chunk by chunk.
        parts = [(tmp_path / f"volume{index}").read_bytes() for index in range(3)]
        chunk = _stripe.CHUNK_BYTES
        rows = range(0, SIZE_BYTES, chunk)
        whole = b"".join(part[row : row + chunk] for row in rows for part in parts)
        assert data[: 8 << 20] in whole
        assert all(chunk < len(part.rstrip(b"\0")) for part in parts)


@needs_loops
@pytest.mark.parametrize("tool", [["mkfs.ext4", "-q"], ["mkswap"], ["sfdisk", "-q"]])
def test_volume_with_data_is_not_changed(tmp_path, tool):
    if shutil.which(tool[0]) is None:
        pytest.skip(f"there is no {tool[0]} here")
    with volumes(tmp_path) as [device]:
        subprocess.run([*tool, device], input=b",,\n", stdout=subprocess.DEVNULL, check=True)
        before = (tmp_path / "volume0").read_bytes()
        not_new = f"{device} may not be new, and was not changed: .*TYPE="
        with pytest.raises(GuestError, match=not_new):
            mount([device], tmp_path / "data")
        assert (tmp_path / "volume0").read_bytes() == before


@needs_loops
def test_volume_that_cannot_be_inspected_is_not_changed(tmp_path, monkeypatch):
    with volumes(tmp_path) as [device], monkeypatch.context() as image:
        image.setenv("PATH", str(tmp_path))
        image.setattr("bigmachine_ec2._commands._SYSTEM_FOLDERS", str(tmp_path))
        with pytest.raises(GuestError, match="may not be new.*the image has no blkid"):
            mount([device], tmp_path / "data")


@needs_loops
def test_no_volume_is_changed_if_one_has_data(tmp_path):
    with volumes(tmp_path, 2) as [one, other]:
        command("mkfs.ext4", "-q", other)
        with pytest.raises(GuestError, match=f"{other} may not be new"):
            mount([one, other], tmp_path / "data")
        assert not (tmp_path / "volume0").read_bytes().strip(b"\0")


@needs_loops
def test_volume_in_use_and_mount_point_in_use_are_refused(tmp_path):
    with volumes(tmp_path, 2) as [one, other]:
        mount([one], tmp_path / "data")
        with pytest.raises(GuestError, match=f"{one} can't be used: Device or resource busy"):
            mount([one], tmp_path / "elsewhere")
        with pytest.raises(GuestError, match="a file system is already mounted at .*data"):
            mount([other], tmp_path / "data")


@pytest.mark.skipif(os.path.exists("/dev/mapper/control"), reason="the kernel has a device mapper")
def test_kernel_without_device_mapper_is_an_error(tmp_path):
    parts = [tmp_path / "one", tmp_path / "two"]
    for part in parts:
        part.write_bytes(bytes(1 << 20))
    with pytest.raises(GuestError, match="kernel has no device mapper"):
        _stripe.stripe([[str(part) for part in parts]], deadline=time.monotonic() + 10)
