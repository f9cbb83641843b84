from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bigmachine.environment import Environment, capture
from bigmachine.environment._tools import find_uv
from bigmachine.errors import UsageError
from tests.support.paths import ROOT
from tests.unit.environment.kit import write_files


def folders(environment: Environment) -> dict[Path, list[str]]:
    return {folder.path: [file.path for file in folder.files] for folder in environment.folders}


@pytest.fixture
def project(tmp_path) -> Path:
    return write_files(tmp_path / "project", {"run.py": "", "helper.py": "", "data.txt": "1"})


def test_folder_of_script_and_installed_distributions_are_captured(
    venv, make_wheel, project, tmp_path
):
    make_wheel("one")
    venv.install("one")
    write_files(tmp_path, {"modules/own.py": ""})
    path = [str(project), str(tmp_path / "modules"), str(venv.site)]
    environment = capture(project / "run.py", path=path)
    assert [d.name for d in environment.distributions] == ["one"]
    assert folders(environment) == {
        project: ["data.txt", "helper.py", "run.py"],
        tmp_path / "modules": ["own.py"],
    }


def test_process_captures_its_own_environment(project):
    source = (
        "from bigmachine.environment import capture\nprint(*capture().folders[0].files, sep='|')"
    )
    write_files(project, {"run.py": source})
    command = [sys.executable, "run.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, check=True)
    assert [part.split("'")[1] for part in done.stdout.split("|")] == [
        "data.txt",
        "helper.py",
        "run.py",
    ]


def test_distribution_can_be_excluded(venv, make_wheel, project):
    make_wheel("one")
    make_wheel("Two.X")
    venv.install("one", "two-x")
    environment = capture(project, path=[str(venv.site)], exclude_distributions=["two_x"])
    assert [d.name for d in environment.distributions] == ["one"]
    with pytest.raises(UsageError, match="three.*not installed"):
        capture(project, path=[str(venv.site)], exclude_distributions=["three"])


def test_script_in_editable_package_needs_no_folder(venv, make_project):
    app = make_project("app", files={"app/__init__.py": "", "app/run.py": ""})
    venv.install("--editable", app)
    environment = capture(app / "app/run.py", path=[str(venv.site), str(app)])
    assert folders(environment) == {}


def test_source_of_editable_distribution_needs_no_folder(venv, make_project, project):
    app = make_project("app", files={"src/app/__init__.py": "", "src/notes.txt": ""})
    venv.install("--editable", app)
    environment = capture(project / "run.py", path=[str(venv.site), str(app / "src")])
    assert [*folders(environment)] == [project]


def test_scripts_beside_editable_distribution_are_sent_without_its_modules(venv, make_project):
    for layout in ("", "src/"):
        name = "flat" if layout == "" else "inside"
        files = {f"{layout}{name}/__init__.py": "", "scripts/run.py": "", "scripts/helper.py": ""}
        app = make_project(name, files={**files, "main.py": ""})
        venv.install("--editable", app)
        path = [str(venv.site), str(app / layout)]
        environment = capture(app / "scripts/run.py", path=path)
        assert folders(environment) == {app / "scripts": ["helper.py", "run.py"]}
        [taken] = folders(capture(app / "main.py", path=path)).values()
        own = ["VERSION", "backend.py", "main.py", "pyproject.toml"]
        assert taken == [*own, "scripts/helper.py", "scripts/run.py"]


def test_error_above_size_limit_lists_biggest_files_and_says_what_to_do(project):
    write_files(project, {"data/big.bin": b"x" * 500_000, "data/more/x": b"x" * 300_000})
    write_files(project, {f"pictures/{n}.png": b"x" * 60_000 for n in range(10)})
    with pytest.raises(UsageError) as caught:
        capture(project / "run.py", path=[], limit_bytes=1_000_000)
    text = str(caught.value)
    assert "are 1.3 MiB, and the limit is 976.6 KiB" in text
    assert text.index(f"488.3 KiB  {project}/data/big.bin\n") < text.index("data/more/x\n")
    assert f"781.2 KiB  {project}/data/\n" in text
    assert f"585.9 KiB  {project}/pictures/\n" in text
    assert "exclude=['/data/', ...] or a .gitignore, or set limit_bytes=1400001 or more" in text
    capture(project / "run.py", path=[], limit_bytes=1_400_001)
    small = capture(project, path=[], limit_bytes=100_000, exclude=["/data/", "/pictures/"])
    assert folders(small) == {project: ["data.txt", "helper.py", "run.py"]}


def test_include_and_exclude_apply_to_every_folder(project, tmp_path):
    write_files(tmp_path, {"other/a.txt": "", "other/b.bin": "", "other/.gitignore": "*.bin\n.*"})
    path = [str(tmp_path / "other")]
    environment = capture(project, path=path, include=["*.bin"], exclude=["*.txt"])
    assert folders(environment) == {
        project: ["helper.py", "run.py"],
        tmp_path / "other": ["b.bin"],
    }


@pytest.mark.skipif(find_uv() is None, reason="there is no uv")
def test_capture_of_editable_repository_has_no_source_folders():
    root = ROOT
    # Other tests may have added their own folders to the path.
    path = [entry for entry in sys.path if not Path(entry).is_relative_to(root / "tests")]
    environment = capture(root / "examples" / "bigpi.py", path=path)
    assert not [f for f in folders(environment) if f.name in ("src", "examples")]
