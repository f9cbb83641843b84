from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bigmachine.environment import Problem, Target, capture
from bigmachine.environment._tools import find_uv, run
from bigmachine.errors import UsageError
from tests.unit.environment.kit import Venv, write_files

HERE = Target.here()
THERE = Target("linux", "aarch64" if HERE.machine == "x86_64" else "x86_64", HERE.python)


@pytest.fixture(scope="module")
def index() -> None:
    uv = find_uv()
    if uv is None:
        pytest.skip("there is no uv")
    question = ["pip", "install", "--dry-run", "--python", sys.executable, "--target", "/nowhere"]
    if run([*uv, *question, "--no-deps", "idna==3.7"]).status != 0:
        pytest.skip("no package index answers")


def check(venv: Venv, target: Target, folder: Path) -> list[Problem]:
    return capture(folder, path=[str(venv.site)]).check(target)


def test_everything_is_available_for_platform_of_driver(venv, make_wheel, tmp_path, monkeypatch):
    make_wheel("no-such-distribution", "7.7")
    venv.install("no-such-distribution")
    monkeypatch.setenv("UV_OFFLINE", "1")
    assert check(venv, HERE, tmp_path / "wheels") == []


def test_missing_wheel_is_reported_with_distributions_that_require_it(
    index, venv, make_wheel, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # outside this project, whose constraints would apply
    make_wheel("idna", "3.7")
    make_wheel("pywin32", "306")
    make_wheel("h11", "999", metadata="Requires-Dist: pywin32; sys_platform == 'win32'\n")
    venv.install("idna", "pywin32", "h11")
    h11, pywin32 = check(venv, THERE, tmp_path / "wheels")
    assert (h11.name, h11.version, h11.required_by) == ("h11", "999", ())
    assert "no wheel is available: there is no version of h11==999" in h11.reason
    assert "nothing installed requires it" in h11.reason
    assert (pywin32.name, pywin32.required_by) == ("pywin32", ("h11",))
    assert str(pywin32).startswith("pywin32 306: no wheel is available: pywin32==306 has no")
    assert "by h11); if the machines do not need it: exclude_distributions=['pywin32']" in str(
        pywin32
    )


def test_local_distribution_is_available_elsewhere_if_its_wheel_is_pure(
    venv, make_wheel, make_project, tmp_path
):
    pure = make_project("pure", files={"src/pure/__init__.py": ""})
    compiled = make_project("compiled", files={"src/compiled/__init__.py": ""})
    write_files(compiled, {"TAG": "cp311-cp311-linux_x86_64"})
    archive = make_wheel("archived", files={"archived.py": ""})
    venv.install("--editable", pure, "--editable", compiled)
    venv.install(archive)
    [problem] = check(venv, THERE, tmp_path / "wheels")
    assert problem.name == "compiled"
    assert "(compiled-0.1-cp311-cp311-linux_x86_64.whl)" in problem.reason


def test_other_python_version_is_reported_as_problem(venv, tmp_path):
    [problem] = check(venv, Target(HERE.system, HERE.machine, "3.99"), tmp_path)
    assert (problem.name, problem.version) == ("python", HERE.python)
    assert "choose an image with" in problem.reason


def test_distribution_without_record_must_be_on_index_even_for_same_platform(
    index, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    files = {"a/PKG-INFO": "Name: h11\nVersion: 999\n", "b/PKG-INFO": "Name: idna\nVersion: 3.7\n"}
    site = tmp_path / "dist-packages"
    write_files(site, {name.replace("/", ".egg-info/"): text for name, text in files.items()})
    write_files(tmp_path, {"project/run.py": ""})
    [problem] = capture(tmp_path / "project", path=[str(site)]).check(HERE)
    assert problem.name == "h11"


def test_check_without_index_raises_usage_error(venv, make_wheel, tmp_path, monkeypatch):
    make_wheel("idna", "3.7")
    venv.install("idna")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))  # the user's may know the answer
    expected = r"(?s)cannot check .*no package index answers;.*network was disabled"
    with pytest.raises(UsageError, match=expected):
        check(venv, THERE, tmp_path / "wheels")


@pytest.mark.skipif(
    bool(find_spec("uv") or find_spec("pip")), reason="this Python has uv or pip itself"
)
def test_check_without_uv_and_pip_says_what_to_install(venv, make_wheel, tmp_path, monkeypatch):
    make_wheel("idna", "3.7")
    venv.install("idna")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("UV", raising=False)
    with pytest.raises(UsageError, match="neither uv nor pip .* pip install uv"):
        check(venv, THERE, tmp_path / "wheels")


PIP = """
import sys
from bigmachine.environment import Target, capture
from bigmachine.environment._tools import find_uv
assert find_uv() is None
environment = capture(sys.argv[1], path=[sys.argv[2]])
print(*environment.check(Target.parse(sys.argv[3])), sep="\\n")
print(environment.manifest()["distributions"][0]["wheel"]["filename"])
"""


@pytest.mark.long
def test_pip_is_used_if_uv_is_missing(index, venv, make_wheel, make_project, tmp_path):
    make_wheel("pywin32", "306")
    make_wheel("idna", "3.7")
    app = make_project("app", files={"src/app/__init__.py": ""})
    venv.install("pywin32", "idna")
    venv.install("--editable", app)
    tools = Venv(tmp_path / "tools", tmp_path)
    tools.install("pip", "setuptools", index=True)
    environ = {**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(tools.site)}
    environ.pop("UV", None)
    (tmp_path / "project").mkdir()
    arguments = [str(tmp_path / "project"), str(venv.site), str(THERE)]
    done = subprocess.run(
        [sys.executable, "-c", PIP, *arguments], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    problem, wheel = done.stdout.splitlines()
    assert problem.startswith("pywin32 306: no wheel is available: Could not find a version")
    assert wheel == "app-0.1-py3-none-any.whl"
