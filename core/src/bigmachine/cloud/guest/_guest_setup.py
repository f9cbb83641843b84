"""A machine's setup before it serves: logging in, its data disk, extra files, systemd units."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trio

from ._commands import GuestError
from ._files import File, check_size, read_files
from ._metadata import MetadataError
from ._public_keys import read_public_keys
from ._units import UNITS_FOLDER, start_units

if TYPE_CHECKING:
    from ...system import VmOptions

# Less than the keepalive timeout of 120 s, after which the boot program considers a worker that
# does not serve hung.
_SECONDS = 90.0
_ATTACH_SECONDS = 60.0
_ADDRESS_SECONDS = 10.0  # it is only shown to the user: the setup does not wait longer for it


@dataclass(frozen=True, slots=True)
class GuestSetup:
    """A machine's setup: read on the driver, applied on the machine.

    ``volumes`` are the names of the volumes of its data disk, which is mounted at
    ``data_folder``, and ``local_disks`` whether its local disks belong to that, too. With
    ``has_ssh`` somebody is to log in, by ``ssh_keys``, which are public ones, or in a way of the
    cloud's own. A cloud overrides the methods that find what is the machine's::

        class MyGuestSetup(GuestSetup):
            __slots__ = ()

            def attached_volumes(self) -> Mapping[str, str]:
                return {name: f"/dev/{name}" for name in self.volumes}
    """

    volumes: tuple[str, ...] = ()
    data_folder: str = "/mnt/data"
    local_disks: bool = False
    files: tuple[File, ...] = ()
    units: tuple[File, ...] = ()
    has_ssh: bool = False
    ssh_keys: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, o: VmOptions, *, volumes: Sequence[str] = ()) -> Self:
        """Read the files that the options name. Raises `UsageError` for one that can't be read.

        ``volumes`` are those of ``o.data_disk``.
        """
        files = read_files("files", [tuple(file.split("=", 1)) for file in o.files])
        units = read_files(
            "units", [(f"{UNITS_FOLDER}/{Path(unit).name}", unit) for unit in o.units]
        )
        check_size([*files, *units])
        return cls(
            tuple(volumes),
            local_disks=o.local_disks,
            files=files,
            units=units,
            has_ssh=o.has_ssh,
            ssh_keys=read_public_keys((o.ssh_key,) if isinstance(o.ssh_key, str) else o.ssh_key),
        )

    def apply(self, *, metadata_url: str = "") -> str:
        """Authorize the keys, mount the disk, write the files, start the units.

        Returns whom the keys' holders log in as, "" if there are none. ``metadata_url`` is the
        instance metadata service. Raises `GuestError`.
        """
        deadline, user = time.monotonic() + _SECONDS, ""
        if self.has_ssh:  # first: somebody may want to see why the rest fails
            user = self.allow_login()
            address = self.address(metadata_url) or "ADDRESS"
            sys.stderr.write(f"to log in: ssh {user}@{address}\n")  # the driver shows this
            sys.stderr.flush()
        if self.volumes or self.local_disks:
            self._mount_data(deadline=deadline)
            use_for_temporary_and_cached_files(self.data_folder)
        for file in self.files:
            file.write()
        if self.units:
            start_units(self.units, deadline=deadline)
        return user

    def address(self, metadata_url: str) -> str:
        """Return this machine's address, the public one if it has one; "" if it is unknown."""

        async def find() -> str:
            with trio.move_on_after(_ADDRESS_SECONDS), contextlib.suppress(MetadataError):
                return await self.find_address(metadata_url)
            return ""

        return trio.run(find)

    # -- what differs between clouds --------------------------------------------------

    def prepare_disks(self, *, deadline: float) -> None:
        """Do what must be done before the disks of the data disk are used, until ``deadline``.

        By default nothing. Raises `GuestError`.
        """

    def attached_volumes(self) -> Mapping[str, str]:
        """Return the block devices of those of ``volumes`` that are attached, by name."""
        return {}

    def find_local_disks(self) -> Sequence[str]:
        """Return the block devices of the machine's local disks."""
        return ()

    def allow_login(self) -> str:
        """Let the holders of ``ssh_keys`` log in; return the name of the user.

        By default the machine does so itself. Raises `GuestError`.
        """
        from ._ssh_login import allow_login  # needs pwd, which not every driver has

        return allow_login(self.ssh_keys)

    async def find_address(self, metadata_url: str) -> str:
        """Look `address` up; "" for none. It is cancelled after some seconds.

        Raises `MetadataError`.
        """
        return ""

    # -- steps ------------------------------------------------------------------------

    def _mount_data(self, *, deadline: float) -> None:
        # It needs fcntl, which not every driver has.
        from ._disks import await_volumes, block_devices, mount_data

        self.prepare_disks(deadline=deadline)
        local = self.find_local_disks() if self.local_disks else ()
        if self.local_disks and not local:
            raise GuestError(
                f"the machine has no local disk; the block devices are {block_devices()}"
            )
        attach_deadline = time.monotonic() + _ATTACH_SECONDS
        volumes = await_volumes(self.volumes, self.attached_volumes, deadline=attach_deadline)
        mount_data([local, volumes], at=self.data_folder, deadline=deadline)


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
