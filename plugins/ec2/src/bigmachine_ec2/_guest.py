"""What a machine is set up with before it serves: its data disk, extra files, systemd units."""

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
from ._volumes import data_names

if TYPE_CHECKING:
    from ._options import Ec2Options

_UNITS_FOLDER = "/etc/systemd/system"
_MOST_BYTES = 1 << 20  # of all files; they go from the driver to each machine, one by one
# Less than the keepalive timeout of 120 s, after which the boot program takes a worker that
# does not serve for one that hangs.
_SECONDS = 90.0
_ATTACH_SECONDS = 60.0
# A service of Type=simple, systemd's default, counts as started before its program even runs.
_SETTLE_SECONDS = 1.0
_JOURNAL_LINES = 20


@dataclass(frozen=True, slots=True)
class File:
    """A file for a machine: its absolute path there, permission bits, and what is in it."""

    path: str
    mode: int
    content: bytes = field(repr=False)

    @classmethod
    def read(cls, local: str, *, path: str) -> File:
        """Read it here, on the driver. Raises `OSError`."""
        with open(Path(local).expanduser(), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o755  # nobody else writes what root reads
            return cls(path, mode, file.read(_MOST_BYTES + 1))

    def write(self) -> None:
        """Write it here, on the machine, all at once. Raises `GuestError`."""
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
            raise GuestError(f"{self.path} can't be written: {exc.strerror}") from exc


@dataclass(frozen=True, slots=True)
class Guest:
    """What a machine is set up with; made on the driver, and carried out on the machine.

    ``volumes`` are the names under which the volumes of its data disk are attached, and
    ``data_folder`` is where it is mounted.
    """

    volumes: tuple[str, ...] = ()
    data_folder: str = "/mnt/data"
    files: tuple[File, ...] = ()
    units: tuple[File, ...] = ()

    @classmethod
    def read(cls, o: Ec2Options) -> Guest:
        """Gather what the options name. Raises `UsageError` for a file that can't be read."""
        files = _read("files", [tuple(file.split("=", 1)) for file in o.files])
        units = _read("units", [(f"{_UNITS_FOLDER}/{Path(unit).name}", unit) for unit in o.units])
        size = sum(len(file.content) for file in (*files, *units))
        if size > _MOST_BYTES:
            raise UsageError(
                f"Ec2Options: files, units: they have more than {_MOST_BYTES >> 20} MiB together; "
                "they are for settings, and go to each machine one by one: send data as an "
                "argument of a service, or have machines fetch it"
            )
        volumes = data_names(o.data_volumes) if o.data_disk else ()
        return cls(volumes, files=files, units=units)

    def set_up(self) -> None:
        """Do it: disk first, then files, then units. Raises `GuestError`."""
        deadline = time.monotonic() + _SECONDS
        if self.volumes:
            from ._disks import mount_data  # fcntl, which is not on every driver

            attached = time.monotonic() + _ATTACH_SECONDS
            mount_data(self.volumes, at=self.data_folder, attached=attached, deadline=deadline)
            use_for_temporary_files(self.data_folder)
        for file in self.files:
            file.write()
        if self.units:
            start_units(self.units, deadline=deadline)


def use_for_temporary_files(folder: str) -> None:
    """Have this process, and those that it starts, keep temporary files in ``folder``/tmp.

    Unless ``TMPDIR`` is set, by who has started the machine.
    """
    folder = os.path.join(folder, "tmp")
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o1777)  # as /tmp has it: for every user
    os.environ.setdefault("TMPDIR", folder)
    tempfile.tempdir = None  # it may have looked already


def start_units(units: Sequence[File], *, deadline: float) -> None:
    """Install units of systemd, enable them, and start them in this order. Raises `GuestError`."""
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
    with contextlib.suppress(CommandError):  # that it is not, is how the command fails
        run("systemctl", "is-failed", unit, deadline=deadline)
        return True
    return False


def _unit_failed(unit: str, why: str) -> GuestError:
    command = ["journalctl", "--no-pager", "--output=cat", f"--lines={_JOURNAL_LINES}"]
    try:
        journal = run(*command, f"--unit={unit}", deadline=time.monotonic() + 5.0)
    except CommandError as exc:
        journal = str(exc)
    return GuestError(f"unit {unit} does not start: {why}\nits journal:\n{journal}")


def _read(option: str, files: Iterable[tuple[str, ...]]) -> tuple[File, ...]:
    """Read pairs of a path on the machine and a local one."""
    try:
        return tuple(File.read(local, path=path) for path, local in files)
    except OSError as exc:
        raise UsageError(f"Ec2Options: {option}: {exc.filename}: {exc.strerror}") from exc
