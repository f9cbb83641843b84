"""A machine's data volumes are awaited, striped, formatted if new, and mounted."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from bigmachine.cloud import GuestError, empty_disk
from bigmachine.cloud.guest import _stripe
from bigmachine.cloud.guest._disks import await_volumes, mount_data
from tests.support.volumes import (
    SIZE_BYTES,
    command,
    needs_loops,
    needs_mapper,
    unmount,
    volumes,
)


def mount(*groups: list[str], at: Path) -> None:
    mount_data(groups, at=str(at), deadline=time.monotonic() + 120.0)


# -- attached volumes -----------------------------------------------------------------


def test_missing_volume_is_an_error_that_names_it():
    match = r"data volumes b are not attached; the block devices are \w"
    with pytest.raises(GuestError, match=match):
        await_volumes(["a", "b"], lambda: {"a": "/dev/a"}, deadline=time.monotonic())


def test_late_volume_is_awaited():
    polls = iter([{}, {"b": "/dev/b"}, {"a": "/dev/a", "b": "/dev/b"}])
    found = await_volumes(["a", "b"], lambda: next(polls), deadline=time.monotonic() + 60)
    assert found == ["/dev/a", "/dev/b"]


# -- file systems ---------------------------------------------------------------------


@needs_loops
def test_new_volume_is_formatted_and_mounted(tmp_path):
    at = tmp_path / "data"
    with volumes(tmp_path) as [device]:
        mount([device], at=at)
        (at / "file").write_text("here")
        assert at.is_mount()
        assert shutil.disk_usage(at).free > 0.7 * SIZE_BYTES
        assert command("findmnt", "-no", "SOURCE,FSTYPE", at).split() == [device, "ext4"]


@needs_loops
def test_local_disk_alone_is_a_data_disk(tmp_path):
    at = tmp_path / "data"
    with volumes(tmp_path) as [device]:
        mount([device], [], at=at)
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
        mount([local], others, at=at)
        assert shutil.disk_usage(at).free > 0.7 * 3 * SIZE_BYTES


@needs_loops
@needs_mapper
def test_several_volumes_are_striped(tmp_path):
    at = tmp_path / "data"
    with volumes(tmp_path, 3) as devices:
        mount(devices, at=at)
        assert shutil.disk_usage(at).free > 0.7 * 3 * SIZE_BYTES
        data = os.urandom(48 << 20)
        (at / "file").write_bytes(data)
        unmount(at)
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
            mount([device], at=tmp_path / "data")
        assert (tmp_path / "volume0").read_bytes() == before


@needs_loops
def test_volume_that_cannot_be_inspected_is_not_changed(tmp_path, monkeypatch):
    with volumes(tmp_path) as [device], monkeypatch.context() as image:
        image.setenv("PATH", str(tmp_path))
        image.setattr("bigmachine.cloud.guest._commands._SYSTEM_FOLDERS", str(tmp_path))
        with pytest.raises(GuestError, match="may not be new.*the image has no blkid"):
            mount([device], at=tmp_path / "data")


@needs_loops
def test_no_volume_is_changed_if_one_has_data(tmp_path):
    with volumes(tmp_path, 2) as [one, other]:
        command("mkfs.ext4", "-q", other)
        with pytest.raises(GuestError, match=f"{other} may not be new"):
            mount([one, other], at=tmp_path / "data")
        assert not (tmp_path / "volume0").read_bytes().strip(b"\0")


@needs_loops
def test_volume_in_use_and_mount_point_in_use_are_refused(tmp_path):
    with volumes(tmp_path, 2) as [one, other]:
        mount([one], at=tmp_path / "data")
        with pytest.raises(GuestError, match=f"{one} can't be used: Device or resource busy"):
            mount([one], at=tmp_path / "elsewhere")
        with pytest.raises(GuestError, match="a file system is already mounted at .*data"):
            mount([other], at=tmp_path / "data")


@pytest.mark.skipif(os.path.exists("/dev/mapper/control"), reason="the kernel has a device mapper")
def test_kernel_without_device_mapper_is_an_error(tmp_path):
    parts = [tmp_path / "one", tmp_path / "two"]
    for part in parts:
        part.write_bytes(bytes(1 << 20))
    with pytest.raises(GuestError, match="kernel has no device mapper"):
        _stripe.stripe([[str(part) for part in parts]], deadline=time.monotonic() + 10)


# -- disks that the image has put a file system on ------------------------------------


@needs_loops
def test_emptied_disk_is_unmounted_and_counts_as_new(tmp_path):
    at = tmp_path / "data"
    with volumes(tmp_path) as [device]:
        mount([device], at=at)
        (at / "DATALOSS_WARNING_README.txt").write_text("nothing here is kept")
        for _ in range(2):  # an empty disk stays as it is
            empty_disk(device, deadline=time.monotonic() + 120.0)
            assert not at.is_mount()
        mount([device], at=at)
        assert os.listdir(at) == ["lost+found"]


@needs_loops
def test_disk_in_use_is_not_emptied(tmp_path):
    at = tmp_path / "data"
    with volumes(tmp_path) as [device]:
        mount([device], at=at)
        with (at / "swapfile").open("w"), pytest.raises(GuestError, match="target is busy"):
            empty_disk(device, deadline=time.monotonic() + 120.0)
        assert at.is_mount()
