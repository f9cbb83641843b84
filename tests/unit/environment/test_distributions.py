from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bigmachine.environment import Origin
from bigmachine.environment._distributions import import_roots, installed
from bigmachine.errors import UsageError
from tests.unit.environment.kit import write_files


def test_each_distribution_has_version_and_origin(venv, make_wheel, make_project, tmp_path):
    make_wheel("Of.Index", "1.5", files={"of_index.py": ""})
    archive = make_wheel("archived", files={"archived.py": ""})
    editable = make_project("edited", files={"src/edited/__init__.py": ""})
    folder = make_project("copied", files={"src/copied/__init__.py": ""})
    venv.install("of-index==1.5")
    venv.install(archive)
    venv.install("--editable", editable)
    venv.install(folder)
    found = [(d.name, d.version, d.origin, d.source) for d in installed([venv.site])]
    assert found == [
        ("archived", "1.0", Origin.ARCHIVE, archive.as_uri()),
        ("copied", "0.1", Origin.FOLDER, str(folder)),
        ("edited", "0.1", Origin.EDITABLE, str(editable)),
        ("of-index", "1.5", Origin.INDEX, None),
    ]


def test_origin_of_commit_is_vcs_and_direct_url_of_conda_is_ignored(tmp_path):
    def add(name: str, direct: dict, installer: str) -> None:
        info = tmp_path / f"{name}-1.dist-info"
        write_files(
            info,
            {
                "METADATA": f"Name: {name}\nVersion: 1\n",
                "direct_url.json": json.dumps(direct),
                "INSTALLER": installer,
            },
        )

    add("commit", {"url": "https://git.example/x", "vcs_info": {"vcs": "git"}}, "pip")
    add("conda", {"url": "file:///home/conda/work", "dir_info": {}}, "conda\n")
    assert [(d.name, d.origin) for d in installed([tmp_path])] == [
        ("commit", Origin.VCS),
        ("conda", Origin.INDEX),
    ]


def test_first_version_on_import_path_is_used(tmp_path):
    for site, version in (("one", "2"), ("two", "1")):
        metadata = f"Name: twice\nVersion: {version}\n"
        write_files(tmp_path, {f"{site}/twice-{version}.dist-info/METADATA": metadata})
    [found] = installed([tmp_path / "one", tmp_path / "two"])
    assert found.version == "2"


def test_leftover_of_interrupted_removal_is_skipped_with_warning(tmp_path, caplog):
    write_files(tmp_path, {"~umpy-1.dist-info/METADATA": ""})
    assert installed([tmp_path]) == []
    assert "without a name" in caplog.text


def test_requirements_of_extras_are_not_included(venv, make_wheel):
    requires = ["Other.One>=1; sys_platform == 'win32'", "two[x] (>1)", "no; extra == 'y'"]
    make_wheel("one", metadata="".join(f"Requires-Dist: {text}\n" for text in requires))
    venv.install("one")
    assert installed([venv.site])[0].requires == {"other-one", "two"}


def test_distribution_of_operating_system_has_no_record(tmp_path):
    site = tmp_path / "dist-packages"
    write_files(site, {"apt-2.0.egg-info/PKG-INFO": "Name: apt\nVersion: 2.0\n"})
    [found] = installed([site])
    assert (found.name, found.origin, found.has_record) == ("apt", Origin.INDEX, False)
    with pytest.raises(
        UsageError, match=r"apt 2\.0 .* has no RECORD .*exclude_distributions=\['apt'\]"
    ):
        found.record()


def test_import_roots_of_editable_distribution_are_found(venv, make_project):
    flat = make_project("flat", files={"flat/__init__.py": ""})
    inside = make_project("inside", files={"src/inside/__init__.py": ""})
    venv.install("--editable", flat, "--editable", inside)
    roots = {d.name: import_roots(d) for d in installed([venv.site])}
    assert roots == {"flat": [flat], "inside": [inside / "src"]}
    (venv.site / "_flat.pth").write_text("import a_hook_of_a_build_tool\n")
    assert import_roots(installed([venv.site])[0]) == [flat, flat / "src"]


def test_size_of_distribution_is_size_of_installed_files(venv, make_wheel):
    make_wheel("one", files={"one.py": "x" * 5000})
    venv.install("one")
    assert 5000 < installed([venv.site])[0].size_bytes < 6000


def test_distributions_of_this_process_are_found():
    sites = [Path(entry) for entry in sys.path if entry.endswith("site-packages")]
    found = {d.name: d for d in installed(sites)}
    assert found["bigmachine"].version == "0.1.0"
    assert found["numpy"].origin is Origin.INDEX
