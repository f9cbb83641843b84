from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bigmachine as bm
from bigmachine.cli import main
from tests.support.services import Echo

FILES = {
    "pyproject.toml",
    "README.md",
    ".gitignore",
    "src/bigmachine_my_slurm/__init__.py",
    "src/bigmachine_my_slurm/_system.py",
    "tests/test_conformance.py",
}
RULES = "E,F,W,I,UP,B,SIM,C4,RUF,PIE,PT,RET,D1"  # ours, without layout of docstrings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bigmachine-my-slurm"


@pytest.fixture
def package(folder: Path, install, monkeypatch: pytest.MonkeyPatch, capsys) -> Path:
    """A new backend, importable as if it were installed as editable."""
    assert main(["new-backend", "my-slurm"]) == 0
    about = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    [(group, points)] = about["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    install(about["name"], "\n".join(lines), about["version"])
    monkeypatch.syspath_prepend(folder / "src")
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "bigmachine_my_slurm"]:
        del sys.modules[name]


class Nice(Echo):
    def nice(self):
        return os.nice(0)


def test_new_backend_creates_package_and_lists_its_files(folder: Path, capsys) -> None:
    assert main(["new-backend", "my-slurm"]) == 0
    written = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert written == FILES
    out = capsys.readouterr().out
    assert "Created the backend 'my-slurm' in bigmachine-my-slurm:" in out
    assert all(f"  {path}" in out for path in FILES)
    for command in ("cd bigmachine-my-slurm", "pip install -e '.[test]'", "pytest"):
        assert f"\n  {command}" in out


def test_new_backend_contains_no_template_names(folder: Path, capsys) -> None:
    main(["new-backend", "my-slurm"])
    for path in folder.rglob("*"):
        assert "mycloud" not in path.name
        assert path.is_dir() or "mycloud" not in path.read_text().lower()


def test_new_backend_accepts_empty_or_missing_directory(folder: Path, capsys) -> None:
    folder.mkdir()
    assert main(["new-backend", "my-slurm", "--directory", str(folder)]) == 0
    assert main(["new-backend", "other", "--directory", "a/new/one"]) == 0
    assert Path("a/new/one/src/bigmachine_other/_system.py").exists()
    assert "cd a/new/one\n" in capsys.readouterr().out


def test_session_works_with_new_backend(package: Path) -> None:
    with bm.Session("my-slurm", nice=7) as session:
        first, second = session.start(2, services={"Echo": Nice()})
        assert second.call("Echo.echo", "hello") == "hello"
        assert first.call("Echo.nice") >= 7


def test_new_backend_refuses_invalid_option(package: Path) -> None:
    with pytest.raises(bm.UsageError, match="nice: must be"), bm.Session("my-slurm", nice=20):
        pass


def test_systems_lists_new_backend_with_its_option(package: Path, capsys) -> None:
    capsys.readouterr()
    assert main(["systems"]) == 0
    out = capsys.readouterr().out
    assert "my-slurm          bigmachine-my-slurm 0.1.0" in out
    assert "BIGMACHINE_MY_SLURM_NICE" in out


def test_new_backend_is_tested_with_conformance_kit(package: Path) -> None:
    from bigmachine.testing.conformance import Suite

    module = runpy.run_path(str(package / "tests/test_conformance.py"))
    assert issubclass(module["TestMySlurm"], Suite)


@pytest.mark.parametrize(
    "command",
    [
        f"ruff check --isolated --line-length=100 --select={RULES} --ignore=D107 .",
        "ruff format --isolated --line-length=100 --check .",
        pytest.param("mypy --strict src", marks=pytest.mark.long),
    ],
)
def test_new_backend_passes_linters_and_type_checker(folder: Path, command: str, capsys) -> None:
    main(["new-backend", "my-slurm"])
    name, *arguments = command.split()
    tool = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if tool is None:
        pytest.skip(f"{name} is not installed")
    core = Path(bm.__file__).parents[1]
    run = subprocess.run(
        [tool, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": f"src:{core}"},
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My_Slurm", "such as 'my-slurm'"),
        ("2fast", "such as 'fast'"),
        ("-", ""),
        ("", ""),
        ("a--b", "such as 'a-b'"),
        ("../up", "such as 'up'"),
        ("naïve", ""),
    ],
)
def test_invalid_backend_name_is_refused_with_valid_suggestion(
    folder: Path, capsys, name: str, hint: str
) -> None:
    assert main(["new-backend", "--", name]) == 2
    err = capsys.readouterr().err
    assert f"{name!r} cannot be the name of a system" in err
    assert hint in err
    assert not [*folder.parent.iterdir()]


def test_new_backend_refuses_directory_with_files(folder: Path, capsys) -> None:
    folder.mkdir()
    (folder / "notes").write_text("mine")
    assert main(["new-backend", "my-slurm"]) == 2
    assert "exists and is not empty: choose another --directory" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["notes"]


def test_new_backend_refuses_path_of_existing_file(folder: Path, capsys) -> None:
    folder.write_text("a file")
    assert main(["new-backend", "my-slurm"]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert main(["new-backend", "other", "--directory", str(folder / "below")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_warning_is_printed_if_system_name_exists_already(
    folder: Path, capsys, monkeypatch
) -> None:
    assert main(["new-backend", "local"]) == 0
    assert "warning: bigmachine-local" in capsys.readouterr().err
    monkeypatch.setattr(sys, "path", [str(folder.parent)])  # without distributions
    assert main(["new-backend", "azure"]) == 0
    assert "warning: 'azure' is" in capsys.readouterr().err
    assert main(["new-backend", "plain"]) == 0
    assert capsys.readouterr().err == ""
