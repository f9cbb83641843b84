from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigmachine.environment import Environment, capture, difference
from bigmachine.environment._archive import pack_folder
from bigmachine.environment._distributions import installed
from bigmachine.errors import UsageError
from tests.unit.environment.kit import Venv, write_files, write_source, write_wheel

BIG = b"b" * 300_000
MINOR = f"3.{sys.version_info.minor}"


@pytest.fixture
def project(tmp_path) -> Path:
    return write_project(tmp_path / "project")


@pytest.fixture
def venv(tmp_path) -> Venv:
    return filled_venv(tmp_path)


@pytest.fixture
def environment(venv, project) -> Environment:
    return captured(venv, project)


@pytest.fixture
def bare(project) -> Environment:
    """The environment of a project that needs no distributions."""
    return capture(project / "run.py", path=[])


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory) -> Iterator[Environment]:
    """The environment of the tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("unchanged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield captured(filled_venv(folder), write_project(folder / "project"))


def write_project(folder: Path) -> Path:
    files = {"run.py": "import app", "sub/x.py": "x", "big.bin": BIG, "tool": "#!sh"}
    write_files(folder, files)
    (folder / "tool").chmod(0o755)
    return folder


def filled_venv(folder: Path) -> Venv:
    wheels = folder / "wheels"
    wheels.mkdir(exist_ok=True)
    write_wheel(wheels, "one", "1.5", {"one.py": ""})
    two = write_wheel(wheels, "two", "1.0", {"two.py": ""})
    app = write_source(folder / "app", {"src/app/__init__.py": "x = 1\n"})
    venv = Venv(folder / "venv", wheels)
    venv.install("one", two, "--editable", app)
    return venv


def captured(venv: Venv, project: Path) -> Environment:
    return capture(project / "run.py", path=[str(project), str(venv.site)])


def test_manifest_is_plain_json_with_expected_keys(unchanged):
    manifest = unchanged.manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert (manifest["format"], manifest["python"]) == (1, MINOR)
    assert [*manifest["content"]] == ["python", "distributions", "files"]
    assert manifest["content"]["python"] == MINOR
    assert {*manifest["content"]["files"]} == {"0/run.py", "0/sub/x.py", "0/big.bin", "0/tool"}
    digest = hashlib.sha256(BIG).hexdigest()
    assert manifest["content"]["files"]["0/big.bin"] == digest
    [folder] = manifest["folders"]
    assert (folder["id"], folder["name"], folder["on_path"]) == ("0", "project", True)
    small, big = folder["blobs"]
    assert {*small} == {"sha256", "size", "tar"}
    assert big == {"sha256": digest, "size": 300_000, "path": "big.bin", "mode": 0o644}
    assert manifest["indexes"] == unchanged.indexes.variables()


def test_digest_is_hash_of_content_as_canonical_json(unchanged):
    manifest = unchanged.manifest()
    text = json.dumps(manifest["content"], sort_keys=True, separators=(",", ":"))
    assert manifest["digest"] == hashlib.sha256(text.encode()).hexdigest()


def test_distribution_not_from_index_has_wheel_and_hash_in_version(unchanged):
    manifest = unchanged.manifest()
    entries = {entry["name"]: entry for entry in manifest["distributions"]}
    assert [*entries] == ["app", "one", "two"]
    assert entries["one"] == {"name": "one", "version": "1.5", "index": True, "wheel": None}
    assert entries["app"]["wheel"]["filename"] == "app-0.1-py3-none-any.whl"
    assert (entries["app"]["version"], entries["app"]["index"]) == ("0.1", False)
    versions = manifest["content"]["distributions"]
    assert versions["one"] == "1.5"
    for name, version in (("app", "0.1+"), ("two", "1.0+")):
        assert versions[name].startswith(version)
        assert len(versions[name]) == len(version) + 12


def test_requested_index_wheels_are_packed_without_changing_digest(unchanged):
    without = unchanged.manifest()
    for wheels in (["One"], "all"):
        manifest = unchanged.manifest(wheels=wheels)
        entries = {entry["name"]: entry for entry in manifest["distributions"]}
        assert entries["one"]["wheel"]["filename"] == "one-1.5-py3-none-any.whl"
        assert manifest["digest"] == without["digest"]
    with pytest.raises(UsageError, match="not in this environment: three"):
        unchanged.manifest(wheels=["three"])


def test_each_blob_can_be_opened_by_its_hash(environment):
    manifest = environment.manifest(wheels="all")
    blobs = [entry["wheel"] for entry in manifest["distributions"]]
    blobs += [blob for folder in manifest["folders"] for blob in folder["blobs"]]
    assert {blob["sha256"] for blob in blobs} == {*environment.blobs}
    for blob in blobs:
        opened = environment.blob(blob["sha256"])
        assert opened.size_bytes == blob["size"]
        with opened.open() as file:
            assert hashlib.sha256(file.read()).hexdigest() == blob["sha256"]
    with pytest.raises(UsageError, match="contains a blob 00"):
        environment.blob("00")


def test_environment_built_from_manifest_has_same_content(unchanged, tmp_path):
    """Install wheels and unpack files as the boot program does."""
    manifest = unchanged.manifest(wheels="all")
    other = Venv(tmp_path / "other", tmp_path)
    for entry in manifest["distributions"]:
        wheel = tmp_path / entry["wheel"]["filename"]
        wheel.write_bytes(read(unchanged, entry["wheel"]))
        other.install(wheel)
    unpacked = tmp_path / "unpacked"
    small, big = manifest["folders"][0]["blobs"]
    with tarfile.open(unchanged.blob(small["sha256"]).path) as tar:
        # Python 3.11.2, as Debian 12 has it, knows no filter.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(unpacked, **safely)
    write_files(unpacked, {big["path"]: read(unchanged, big)})
    assert (unpacked / "tool").stat().st_mode & 0o777 == 0o755
    requested = manifest["content"]["distributions"]
    versions = {each.name: each.version for each in installed([other.site])}
    local = [entry["name"] for entry in manifest["distributions"] if not entry["index"]]
    assert versions == {name: version.partition("+")[0] for name, version in requested.items()}
    built = {
        "python": other.run("import sys; print('%d.%d' % sys.version_info[:2])"),
        "distributions": {**versions, **{name: requested[name] for name in local}},
        "files": {
            f"0/{file.relative_to(unpacked)}": hashlib.sha256(file.read_bytes()).hexdigest()
            for file in unpacked.rglob("*")
            if file.is_file()
        },
    }
    assert difference(manifest["content"], built) == ""
    assert other.run("import app, one, two; print(app.x)") == "1"


def read(environment: Environment, blob: dict) -> bytes:
    with environment.blob(blob["sha256"]).open() as file:
        return file.read()


def test_same_environment_has_same_manifest(venv, environment, project, tmp_path):
    first = environment.manifest(wheels="all")
    (project / "run.py").touch()
    assert captured(venv, project).manifest(wheels="all") == first


def test_archive_of_same_folder_has_same_bytes(bare, project, monkeypatch, tmp_path):
    [small, _] = bare.manifest()["folders"][0]["blobs"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another-cache"))
    (project / "sub/x.py").touch()
    other = capture(project / "run.py", path=[])
    assert other.manifest()["folders"][0]["blobs"][0] == small
    assert other.blob(small["sha256"]).path.read_bytes()[4:8] == bytes(4)  # gzip's time


@pytest.mark.parametrize("change", ["project/run.py", "app/src/app/__init__.py", "two", "python"])
def test_each_change_changes_digest(venv, environment, project, tmp_path, change):
    before = environment.manifest()
    if change == "two":
        (venv.site / "two.py").write_text("changed")
    elif change == "python":
        environment.target = type(environment.target)("linux", "x86_64", "3.99")
        assert environment.manifest()["digest"] != before["digest"]
        return
    else:
        (tmp_path / change).write_text("x = 2")
    after = captured(venv, project).manifest()
    assert after["digest"] != before["digest"]
    assert difference(before["content"], after["content"]).count("\n") == 0


@pytest.mark.parametrize("name", ["run.py", "big.bin"])
def test_error_names_file_that_was_deleted_before_packing(bare, project, name):
    (project / name).unlink()
    with pytest.raises(UsageError, match=f"{project / name} must be sent .* start again"):
        bare.manifest()


def test_file_that_is_always_written_is_packed_as_it_was_at_one_moment(tmp_path, monkeypatch):
    log = write_files(tmp_path / "p", {"run.log": "0", "other.txt": "x"}) / "run.log"

    def written_meanwhile(folder, **arguments):
        log.write_text(log.read_text() + "1")
        return pack_folder(folder, **arguments)

    monkeypatch.setattr("bigmachine.environment._environment.pack_folder", written_meanwhile)
    environment = capture(tmp_path / "p", path=[])
    manifest = environment.manifest()
    digest = manifest["content"]["files"]["0/run.log"]
    assert digest == hashlib.sha256(b"01").hexdigest()
    [blob] = manifest["folders"][0]["blobs"]
    with tarfile.open(environment.blob(blob["sha256"]).path) as tar:
        assert tar.extractfile("run.log").read() == b"01"
    assert log.read_text() == "011"


def test_file_changed_after_manifest_is_refused(bare, project):
    [_, big] = bare.manifest()["folders"][0]["blobs"]
    (project / "big.bin").write_text("changed")
    with pytest.raises(UsageError, match=r"big\.bin was changed before"):
        bare.blob(big["sha256"]).open()
    (project / "big.bin").unlink()
    with pytest.raises(UsageError, match=r"big\.bin was deleted before"):
        bare.blob(big["sha256"]).open()


def test_distribution_without_record_is_error_only_if_it_must_be_packed(project, tmp_path):
    site = tmp_path / "dist-packages"
    write_files(site, {"apt-2.0.egg-info/PKG-INFO": "Name: apt\nVersion: 2.0\n"})
    environment = capture(project, path=[str(site)])
    assert environment.manifest()["content"]["distributions"] == {"apt": "2.0"}
    with pytest.raises(UsageError, match="has no RECORD"):
        environment.manifest(wheels="all")


def test_any_file_name_is_supported(tmp_path):
    names = ["a b.py", "é.txt", "comma,\"quote'.txt", "new\nline", os.fsdecode(b"not-utf8-\xff")]
    write_files(tmp_path / "odd", {name: name.encode("utf-8", "surrogateescape") for name in names})
    environment = capture(tmp_path / "odd", path=[])
    manifest = environment.manifest()
    assert {path[2:] for path in manifest["content"]["files"]} == {*names}
    [blob] = manifest["folders"][0]["blobs"]
    with tarfile.open(environment.blob(blob["sha256"]).path) as tar:
        assert {*tar.getnames()} == {*names}
