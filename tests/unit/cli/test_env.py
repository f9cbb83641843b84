from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bigmachine.cli import main
from bigmachine.environment import Target
from bigmachine.environment._tools import find_uv
from tests.support.paths import fresh_path

HERE = Target.here()

# This repository may be installed as editable; uv then builds its wheels.
pytestmark = pytest.mark.skipif(find_uv() is None, reason="there is no uv")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "run.py").write_text("12345")
    (folder / "big.bin").write_bytes(b"x" * 300_000)
    monkeypatch.setattr(sys, "path", [str(folder), *fresh_path()])
    return folder


def test_env_shows_contents_and_size_of_environment(project, capsys):
    assert main(["env", str(project / "run.py")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Python            {HERE.python}"
    assert lines[1] == f"platform          {HERE.platform}"
    assert "from an index" in lines[2]
    assert f"  {project}  2 files, 293.0 KiB" in lines
    assert "    293.0 KiB  big.bin" in lines
    assert not any(line.startswith("not sent") for line in lines)
    assert any(line.startswith("to upload  ") for line in lines)
    assert lines[-1].startswith("digest            ")
    assert len(lines[-1]) == 18 + 64


def test_env_json_has_same_content_and_no_credentials_of_indexes(project, capsys, monkeypatch):
    monkeypatch.setenv("UV_INDEX", "https://user:secret@index.example/simple")
    assert main(["env", str(project), "--json"]) == 0
    out = capsys.readouterr().out
    found = json.loads(out)
    assert "secret" not in out
    assert found["platform"] == HERE.platform
    assert found["origins"]["numpy"] == {"origin": "index", "source": None}
    assert {path.partition("/")[2] for path in found["manifest"]["content"]["files"]} >= {"run.py"}
    upload = found["upload_bytes"]
    assert 0 < upload["with_index"] < upload["without_index_at_most"]
    assert found["check"] is None


def test_env_options_choose_what_is_sent(project, capsys):
    (project / ".gitignore").write_text("*.bin\n")
    options = [
        "--include",
        "big.*",
        "--exclude",
        "run.py",
        "--exclude-distribution",
        "numpy",
        "--json",
    ]
    assert main(["env", str(project), *options]) == 0
    manifest = json.loads(capsys.readouterr().out)["manifest"]
    assert {"0/.gitignore", "0/big.bin"} <= {*manifest["content"]["files"]}
    assert "0/run.py" not in manifest["content"]["files"]
    assert "numpy" not in manifest["content"]["distributions"]


def test_env_lists_what_is_left_out_and_why(project, capsys):
    (project / ".env").write_text("A=1")
    (project / "odd\n.env").write_text("A=1")
    (project / "cache").mkdir()
    for name in ("pyvenv.cfg", "x.py"):
        (project / "cache" / name).touch()
    for number in range(5):
        (project / f"{number}.pyc").touch()
    # One capture for both forms: the JSON has all that the text is made of.
    assert main(["env", str(project / "run.py"), "--exclude", "big.bin"]) == 0
    out = capsys.readouterr().out
    found = out[out.index("not sent") : out.index("to upload")].splitlines()
    assert found == [
        "not sent          9:",
        f"  {project}",
        "    .env        settings that often hold secrets",
        r"    odd\n.env   settings that often hold secrets",
        "    0.pyc       a cache",
        "    1.pyc       a cache",
        "    2.pyc       a cache",
        "    and 3 more  generated",
        "    big.bin     excluded by the user",
        "  To send one, name it: --include /PATH; in a program, EnvironmentOptions(include=…)",
    ]
    assert main(["env", str(project / "run.py"), "--include", "/.env", "--json"]) == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert len(left_out) == 7
    assert left_out[-1] == {
        "place": str(project),
        "path": "odd\n.env",
        "reason": "secret",
        "why": "settings that often hold secrets",
    }


def test_env_applies_options_of_file_and_variables(project, capsys, monkeypatch):
    (project / "bigmachine.toml").write_text("profiles.bare.environment.exclude = ['*.bin']")
    monkeypatch.chdir(project)
    monkeypatch.setenv("BIGMACHINE_ENVIRONMENT_EXCLUDE_DISTRIBUTIONS", "numpy")
    options = ["--profile", "bare", "--exclude", "run.py", "--json"]
    assert main(["env", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    paths = {path for path in found["manifest"]["content"]["files"] if path.startswith("0/")}
    assert paths == {"0/bigmachine.toml"}
    assert "numpy" not in found["origins"]


def test_env_check_succeeds_if_everything_is_available_for_target(project, capsys):
    assert main(["env", str(project), "--check", str(HERE)]) == 0
    assert f"check             everything is available for {HERE}" in capsys.readouterr().out


def test_env_check_fails_and_names_what_target_lacks(project, capsys):
    target = f"{HERE.platform}/py3.{int(HERE.python[2:]) + 1}"
    everything = json_of(capsys, project)["manifest"]["content"]["distributions"]
    local = ["bigmachine", "bigmachine-local", "bigmachine-workspace"]
    exclude = [f"--exclude-distribution={name}" for name in everything if name not in local]
    assert main(["env", str(project), *exclude, "--json", "--check", target]) == 1
    check = json.loads(capsys.readouterr().out)["check"]
    assert check["target"] == target
    assert [problem["name"] for problem in check["problems"]] == ["python"]
    assert main(["env", str(project), *exclude, "--check", target]) == 1
    assert f"1 not available for {target}:\n  python {HERE.python}: " in capsys.readouterr().out


def json_of(capsys, project: Path) -> dict:
    assert main(["env", str(project), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--check", "vax"], "'vax' is not a target"),
        (["nowhere.py"], "no such script: nowhere.py"),
        (["--exclude-distribution", "nothing-such"], ": not installed"),
        (["--profile", "no"], "no profile 'no'"),
    ],
)
def test_env_reports_usage_error_in_one_line(project, capsys, arguments, words, monkeypatch):
    monkeypatch.chdir(project)
    assert main(["env", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bigmachine: ")
    assert words in err
    assert err.count("\n") == 1
