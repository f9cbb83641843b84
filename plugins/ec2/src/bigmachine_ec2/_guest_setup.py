"""A machine's setup before it serves: its data disk, extra files, systemd units."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bigmachine.errors import UsageError

from ._commands import CommandError, GuestError, run
from ._public_keys import read_public_keys
from ._volumes import data_names

if TYPE_CHECKING:
    from ._options import Ec2Options

_UNITS_FOLDER = "/etc/systemd/system"
_MAX_BYTES = 1 << 20  # of all files; the driver sends them to each machine
# Less than the keepalive timeout of 120 s, after which the boot program considers a worker that
# does not serve hung.
_SECONDS = 90.0
_ATTACH_SECONDS = 60.0
# systemd counts a service of its default Type=simple as started before its program runs.
_SETTLE_SECONDS = 1.0
_JOURNAL_LINES = 20


@dataclass(frozen=True, slots=True)
class File:
    """A file for a machine: its absolute path there, permission bits and content."""

    path: str
    mode: int
    content: bytes = field(repr=False)

    @classmethod
    def read(cls, local: str, *, path: str) -> File:
        """Read the file on the driver. Raises `OSError`."""
        with open(Path(local).expanduser(), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o755  # only root may write it
            return cls(path, mode, file.read(_MAX_BYTES + 1))

    def write(self) -> None:
        """Write the file on the machine, atomically. Raises `GuestError`."""
        folder, name = os.path.split(self.path)
        try:
            os.makedirs(folder, exist_ok=True)
            fd, part = tempfile.mkstemp(dir=folder, prefix=f".{name}-")
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(self.content)
                    os.fchmod(fd, self.mode)
                os.replace(part, self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(part)
                raise
        except OSError as exc:
            raise GuestError(f"can't write {self.path}: {exc.strerror}") from exc


@dataclass(frozen=True, slots=True)
class GuestSetup:
    """A machine's setup: read on the driver, applied on the machine.

    ``volumes`` are the device names of the volumes of its data disk, which is mounted at
    ``data_folder``, and ``local_disks`` whether its local disks belong to that, too. With
    ``has_ssh`` somebody is to log in, by ``ssh_keys``, which are public ones, or by a key pair
    of EC2.
    """

    volumes: tuple[str, ...] = ()
    data_folder: str = "/mnt/data"
    local_disks: bool = False
    files: tuple[File, ...] = ()
    units: tuple[File, ...] = ()
    has_ssh: bool = False
    ssh_keys: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, o: Ec2Options) -> GuestSetup:
        """Read the files that the options name. Raises `UsageError` for one that can't be read."""
        files = _read("files", [tuple(file.split("=", 1)) for file in o.files])
        units = _read("units", [(f"{_UNITS_FOLDER}/{Path(unit).name}", unit) for unit in o.units])
        size = sum(len(file.content) for file in (*files, *units))
        if size > _MAX_BYTES:
            raise UsageError(
                f"invalid options files, units: together they exceed {_MAX_BYTES >> 20} MiB; they "
                "are for settings, and are sent to each machine: send data as an argument of a "
                "service method, or let the machines download it"
            )
        volumes = data_names(o.data_volumes) if o.data_disk else ()
        keys = read_public_keys((o.ssh_key,) if isinstance(o.ssh_key, str) else o.ssh_key)
        return cls(
            volumes,
            local_disks=o.local_disks,
            files=files,
            units=units,
            has_ssh=o.has_ssh,
            ssh_keys=keys,
        )

    def apply(self, *, metadata_url: str = "") -> None:
        """Authorize the keys, mount the disk, write the files, start the units.

        ``metadata_url`` is the instance metadata service. Raises `GuestError`.
        """
        deadline = time.monotonic() + _SECONDS
        if self.has_ssh:  # first: somebody may want to see why the rest fails
            from ._ssh_login import allow_login  # needs pwd, which not every driver has

            allow_login(self.ssh_keys, metadata_url=metadata_url)
        if self.volumes or self.local_disks:
            # It needs fcntl, which not every driver has.
            from ._disks import find_local_disks, mount_data

            mount_data(
                self.volumes,
                local=find_local_disks() if self.local_disks else (),
                at=self.data_folder,
                attach_deadline=time.monotonic() + _ATTACH_SECONDS,
                deadline=deadline,
            )
            use_for_temporary_and_cached_files(self.data_folder)
        for file in self.files:
            file.write()
        if self.units:
            start_units(self.units, deadline=deadline)


def use_for_temporary_and_cached_files(folder: str) -> None:
    """Make this process and its children keep such files in ``folder``/tmp and ``folder``/cache.

    A variable that is set, ``TMPDIR`` or ``XDG_CACHE_HOME``, stays as it is. Most programs keep
    what they download in the latter: Hugging Face's, PyTorch, pip ("XDG Base Directory
    Specification").
    """
    temporary, cached = os.path.join(folder, "tmp"), os.path.join(folder, "cache")
    os.makedirs(temporary, exist_ok=True)
    os.chmod(temporary, 0o1777)  # like /tmp: for every user
    os.makedirs(cached, mode=0o700, exist_ok=True)
    os.environ.setdefault("TMPDIR", temporary)
    os.environ.setdefault("XDG_CACHE_HOME", cached)
    tempfile.tempdir = None  # it may be cached


def start_units(units: Sequence[File], *, deadline: float) -> None:
    """Install systemd units, enable them, and start them in this order. Raises `GuestError`."""
    for unit in units:
        unit.write()
    names = [os.path.basename(unit.path) for unit in units]
    run("systemctl", "daemon-reload", deadline=deadline)
    run("systemctl", "enable", *names, deadline=deadline)
    for name in names:
        try:
            run("systemctl", "start", name, deadline=deadline)
        except CommandError as exc:
            raise _unit_failed(name, str(exc)) from exc
    time.sleep(_SETTLE_SECONDS)
    for name in names:
        if _is_failed(name, deadline=deadline):
            raise _unit_failed(name, "it has failed")


def _is_failed(unit: str, *, deadline: float) -> bool:
    with contextlib.suppress(CommandError):  # the command fails for a unit that has not
        run("systemctl", "is-failed", unit, deadline=deadline)
        return True
    return False


def _unit_failed(unit: str, why: str) -> GuestError:
    command = ["journalctl", "--no-pager", "--output=cat", f"--lines={_JOURNAL_LINES}"]
    try:
        journal = run(*command, f"--unit={unit}", deadline=time.monotonic() + 5.0)
    except CommandError as exc:
        journal = str(exc)
    return GuestError(f"unit {unit} did not start: {why}\nits journal:\n{journal}")


def _read(option: str, files: Iterable[tuple[str, ...]]) -> tuple[File, ...]:
    """Read pairs of a path on the machine and a local one."""
    try:
        return tuple(File.read(local, path=path) for path, local in files)
    except OSError as exc:
        raise UsageError(f"invalid option {option}: {exc.filename}: {exc.strerror}") from exc
