from __future__ import annotations

import base64
import csv
import hashlib
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from bigmachine.environment._cache import Cache
from bigmachine.environment._distributions import Distribution, installed
from bigmachine.environment._repack import repack
from bigmachine.errors import UsageError
from tests.unit.environment.kit import Venv, write_files

SCRIPT = "#!python\nprint('a script')\n"


def find_distribution(site: Path, name: str = "one") -> Distribution:
    [found] = [each for each in installed([site]) if each.name == name]
    return found


@pytest.fixture
def one(venv, make_wheel) -> Venv:
    files = {
        "one/__init__.py": "def main(): print('an entry point')\n",
        "one/a,b.txt": "comma",
        "one-1.0.dist-info/entry_points.txt": "[console_scripts]\none-command = one:main\n",
        "one-1.0.data/scripts/one-script": SCRIPT,
        "one-1.0.data/data/share/one/data.txt": "data",
    }
    make_wheel("one", files=files)
    venv.install("one")
    compiled = "one/__pycache__/__init__.cpython-311.pyc"  # as pip records what it compiled
    write_files(venv.site, {compiled: ""})
    with (venv.site / "one-1.0.dist-info/RECORD").open("a") as record:
        record.write(f"{compiled},,\n")
    return venv


def test_repacked_wheel_installs_same_files_elsewhere(one, tmp_path):
    assert (one.folder / "bin/one-script").read_text().startswith(f"#!{one.folder}")
    wheel = repack(find_distribution(one.site), cache=Cache())
    assert wheel.name == "one-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as opened:
        assert opened.namelist() == [
            "one-1.0.data/data/share/one/data.txt",
            "one-1.0.data/scripts/one-script",
            "one-1.0.dist-info/METADATA",
            "one-1.0.dist-info/WHEEL",
            "one-1.0.dist-info/entry_points.txt",
            "one/__init__.py",
            "one/a,b.txt",
            "one-1.0.dist-info/RECORD",
        ]
        assert opened.read("one-1.0.data/scripts/one-script").decode() == SCRIPT
    other = Venv(tmp_path / "other", tmp_path)
    other.install(wheel)
    assert other.run("import one; one.main()") == "an entry point"
    assert (other.folder / "share/one/data.txt").read_text() == "data"
    assert str(other.folder) in (other.folder / "bin/one-script").read_text()
    assert (other.folder / "bin/one-command").exists()


def test_repacked_wheel_has_correct_record(one):
    with zipfile.ZipFile(repack(find_distribution(one.site), cache=Cache())) as wheel:
        rows = list(csv.reader(wheel.read("one-1.0.dist-info/RECORD").decode().splitlines()))
        assert [row[0] for row in rows] == wheel.namelist()
        assert rows.pop() == ["one-1.0.dist-info/RECORD", "", ""]
        for name, digest, size in rows:
            content = wheel.read(name)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
            assert (digest, int(size)) == (f"sha256={hashed.rstrip('=')}", len(content))


def test_same_contents_give_same_wheel_bytes(one, tmp_path, make_wheel, wheels):
    other = Venv(tmp_path / "other-place", wheels)
    other.install("one")
    first = repack(find_distribution(one.site), cache=Cache(tmp_path / "1"))
    second = repack(find_distribution(other.site), cache=Cache(tmp_path / "2"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as wheel:
        assert {info.date_time for info in wheel.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_executable_file_in_package_stays_executable(one):
    (one.site / "one/__init__.py").chmod(0o755)
    with zipfile.ZipFile(repack(find_distribution(one.site), cache=Cache())) as wheel:
        modes = {info.filename: info.external_attr >> 16 for info in wheel.infolist()}
    assert modes["one/__init__.py"] == stat.S_IFREG | 0o755
    assert modes["one/a,b.txt"] == stat.S_IFREG | 0o644


def test_script_with_too_long_interpreter_path_becomes_portable(one):
    script = one.folder / "bin/one-script"
    body = "'''exec' '/very long/bin/python' \"$0\" \"$@\"\n' '''\nprint('a script')\n"
    script.write_text("#!/bin/sh\n" + body.replace("'/very long/bin/python'", "/long/bin/python"))
    with zipfile.ZipFile(repack(find_distribution(one.site), cache=Cache())) as wheel:
        content = wheel.read("one-1.0.data/scripts/one-script").decode()
    assert content == "#!python\nprint('a script')\n"


def test_file_changed_by_hand_is_sent_as_it_is_with_warning(one, caplog):
    before = repack(find_distribution(one.site), cache=Cache())
    (one.site / "one/__init__.py").write_text("changed = True\n")
    after = repack(find_distribution(one.site), cache=Cache())
    assert (
        "one 1.0: changed since it was installed; the changed files are sent: one/__init__.py"
        in (caplog.text)
    )
    assert before != after
    with zipfile.ZipFile(after) as wheel:
        assert wheel.read("one/__init__.py") == b"changed = True\n"


def test_error_for_missing_file_says_how_to_reinstall(one):
    (one.site / "one/a,b.txt").unlink()
    expected = r'one/a,b\.txt\. Install it again: .*--force-reinstall --no-deps "one==1\.0"'
    with pytest.raises(UsageError, match=expected):
        repack(find_distribution(one.site), cache=Cache())


def test_distribution_in_target_folder_can_be_repacked(venv, make_wheel, tmp_path):
    make_wheel("one", files={"one.py": "", "one-1.0.data/scripts/one-script": SCRIPT})
    venv.install("one", "--target", tmp_path / "target")
    with zipfile.ZipFile(repack(find_distribution(tmp_path / "target"), cache=Cache())) as wheel:
        assert wheel.read("one-1.0.data/scripts/one-script").decode() == SCRIPT


@pytest.mark.long
def test_repacked_numpy_works_elsewhere(tmp_path):
    sites = [Path(entry) for entry in sys.path if entry.endswith("site-packages")]
    [numpy] = [each for each in installed(sites) if each.name == "numpy"]
    wheel = repack(numpy, cache=Cache())
    assert wheel.name.startswith(f"numpy-{numpy.version}-cp3")
    other = Venv(tmp_path / "other", tmp_path)
    other.install(wheel)
    assert other.run("import numpy; print(numpy.arange(4).sum())") == "6"
    assert (other.folder / "bin/f2py").exists()


def test_repacked_wheel_is_cached(one, cache):
    first = repack(find_distribution(one.site), cache=Cache())
    made = first.stat().st_mtime_ns
    assert repack(find_distribution(one.site), cache=Cache()) == first
    assert first.stat().st_mtime_ns == made
    assert first.is_relative_to(cache)
