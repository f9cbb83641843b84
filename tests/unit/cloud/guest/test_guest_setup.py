"""A machine's setup: its files, its units, and where temporary and cached files are."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import trio

from bigmachine.cloud import GuestError, GuestSetup, MetadataError
from bigmachine.cloud.guest import _guest_setup
from bigmachine.cloud.guest._files import File
from bigmachine.cloud.guest._guest_setup import use_for_temporary_and_cached_files
from bigmachine.cloud.guest._units import start_units
from bigmachine.errors import UsageError
from bigmachine.system import VmOptions


def guest_of(**options) -> GuestSetup:
    """Return the guest setup of these options, as it arrives on a machine."""
    return pickle.loads(pickle.dumps(GuestSetup.from_options(VmOptions(**options))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": ("/etc/x=/nowhere/x",)}, "files: /nowhere/x: No such file or directory"),
        ({"units": ("/nowhere/x.service",)}, "units: /nowhere/x.service: No such file or dir"),
    ],
)
def test_unreadable_file_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        guest_of(**options)


def test_large_files_are_refused(tmp_path):
    for name in ("big", "small"):
        (tmp_path / name).write_bytes(bytes((1 << 20) if name == "big" else 1))
    guest_of(files=(f"/etc/big={tmp_path}/big",))
    both = tuple(f"/etc/{name}={tmp_path}/{name}" for name in ("big", "small"))
    with pytest.raises(UsageError, match="together they exceed 1 MiB; they are for settings"):
        guest_of(files=both)


def test_machine_without_the_disks_of_its_options_is_an_error(tmp_path):
    guest = GuestSetup(data_folder=str(tmp_path), local_disks=True)
    with pytest.raises(GuestError, match=r"has no local disk; the block devices are \w"):
        guest.apply()


@pytest.mark.parametrize(
    ("find", "seconds", "shown"),
    [
        (lambda: trio.sleep(0), 60.0, "10.0.0.7"),
        (trio.sleep_forever, 0.01, "ADDRESS"),
        (lambda: _raise(MetadataError("there is no metadata service")), 60.0, "ADDRESS"),
    ],
    ids=["found", "silent", "failed"],
)
def test_setup_does_not_wait_for_an_address_that_is_merely_shown(
    find, seconds, shown, monkeypatch, capsys
):
    monkeypatch.setattr(_guest_setup, "_ADDRESS_SECONDS", seconds)

    class Guest(GuestSetup):
        __slots__ = ()

        def allow_login(self):
            return "ubuntu"

        async def find_address(self, metadata_url):
            await find()
            return "10.0.0.7"

    assert Guest(has_ssh=True).apply() == "ubuntu"
    assert capsys.readouterr().err == f"to log in: ssh ubuntu@{shown}\n"


async def _raise(error):
    raise error


def test_disks_are_prepared_before_they_are_looked_for(tmp_path):
    class Guest(GuestSetup):
        __slots__ = ()

        def prepare_disks(self, *, deadline):
            assert deadline > time.monotonic()
            raise GuestError("prepared")

        def find_local_disks(self):
            raise AssertionError("they are not prepared")

    for guest in (Guest(local_disks=True), Guest(volumes=("a",))):
        with pytest.raises(GuestError, match="prepared"):
            guest.apply()
    Guest(files=(File(str(tmp_path / "file"), 0o600, b""),)).apply()  # which needs no disks


def test_files_keep_their_mode_and_are_writable_only_by_root(tmp_path):
    for name, mode in (("secret", 0o600), ("script", 0o777)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    there = tmp_path / "there"
    files = tuple(f"{there}/deep/{name}={tmp_path}/{name}" for name in ("secret", "script"))
    guest = guest_of(files=files)
    (tmp_path / "secret").unlink()  # it travels
    guest.apply()
    for name, mode in (("secret", 0o600), ("script", 0o755)):
        file = there / "deep" / name
        assert file.read_text() == name
        assert stat.S_IMODE(file.stat().st_mode) == mode
    assert sorted(os.listdir(there / "deep")) == ["script", "secret"]


def test_unwritable_file_is_named(tmp_path):
    (tmp_path / "here").write_text("")
    guest = guest_of(files=(f"/proc/nowhere/x={tmp_path}/here",))
    with pytest.raises(GuestError, match="can't write /proc/nowhere/x: No such file"):
        guest.apply()


def test_temporary_and_cached_files_are_on_the_data_disk_unless_set(tmp_path, monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    tempfile.gettempdir()  # which is kept
    use_for_temporary_and_cached_files(str(tmp_path))
    child = "import os, tempfile; print(tempfile.gettempdir(), os.environ['XDG_CACHE_HOME'])"
    places = subprocess.check_output([sys.executable, "-c", child], text=True).split()
    assert places == [f"{tmp_path}/tmp", f"{tmp_path}/cache"]
    assert tempfile.gettempdir() == str(tmp_path / "tmp")
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    for name in ("TMPDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    use_for_temporary_and_cached_files(str(tmp_path))
    assert tempfile.gettempdir() == os.environ["XDG_CACHE_HOME"] == str(tmp_path)


SYSTEMCTL = """\
#!/bin/sh
echo "$@" >>{log}
case "$*" in
"start bad.service") echo "Job for bad.service failed."; exit 1;;
"is-failed crashing.service") echo failed; exit 0;;
is-failed*) echo active; exit 1;;
esac
"""
JOURNALCTL = """\
#!/bin/sh
echo "what $4 said"
"""


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """Replace systemctl; return the log of its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "told"
    for name, script in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        (folder / name).write_text(script.format(log=log))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(_guest_setup, "UNITS_FOLDER", str(tmp_path / "system"))
    return log


def unit(tmp_path: Path, name: str) -> str:
    (tmp_path / name).write_text("[Service]\nExecStart=/bin/true\n")
    return str(tmp_path / name)


def test_units_are_installed_and_started_in_order(tmp_path, systemd):
    units = (unit(tmp_path, "b.service"), unit(tmp_path, "a.timer"))
    guest_of(units=units).apply()
    for name in units:
        installed = tmp_path / "system" / os.path.basename(name)
        assert installed.read_bytes() == Path(name).read_bytes()
    assert systemd.read_text().splitlines()[:4] == [
        "daemon-reload",
        "enable b.service a.timer",
        "start b.service",
        "start a.timer",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [("bad", "systemctl start bad.service: Job for bad.service failed."), ("crashing", "failed")],
)
def test_failed_unit_is_an_error_with_its_journal(tmp_path, systemd, name, why):
    guest = guest_of(units=(unit(tmp_path, f"{name}.service"),))
    with pytest.raises(GuestError) as caught:
        guest.apply()
    assert f"unit {name}.service did not start: " in str(caught.value)
    assert why in str(caught.value)
    assert f"its journal:\nwhat --unit={name}.service said" in str(caught.value)


def test_hung_or_missing_command_is_an_error(tmp_path, monkeypatch):
    file = File(str(tmp_path / "x.service"), 0o644, b"")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bigmachine.cloud.guest._commands._SYSTEM_FOLDERS", str(tmp_path))
    with pytest.raises(GuestError, match="the image has no systemctl"):
        start_units([file], deadline=time.monotonic() + 60)
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexec /bin/sleep 1000\n")
    (tmp_path / "systemctl").chmod(0o755)
    with pytest.raises(GuestError, match="systemctl daemon-reload: timed out"):
        start_units([file], deadline=time.monotonic())
