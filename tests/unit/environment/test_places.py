"""A home folder, or one that others share, is sent only if the user says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bigmachine.environment import capture
from bigmachine.errors import UsageError
from tests.unit.environment.kit import write_files


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    files = {"run.py": "", "helper.py": "", ".ssh/id_rsa": "", "photos/a.jpg": "123", "x.bin": ""}
    return write_files(tmp_path / "me", files)


def sent(script: Path, **options) -> list[str]:
    folders = capture(script, path=[], **options).folders
    return [file.path for folder in folders for file in folder.files]


def test_error_for_script_in_home_says_what_would_be_sent_and_what_to_write(home):
    with pytest.raises(UsageError) as caught:
        sent(home / "run.py")
    text = str(caught.value)
    assert text.startswith(f"{home} is your home folder, and modules are imported from it")
    assert "5 files, 3 B (.ssh/, helper.py, photos/, run.py, x.bin)" in text
    assert "Move the program to a folder of its own" in text
    for answer in ("include=['/helper.py']", "include=['/*']", "exclude=['*']"):
        assert answer in text


def test_answer_decides_what_is_sent_of_home(home):
    assert sent(home / "run.py", include=["/helper.py"]) == ["helper.py"]
    assert sent(home / "run.py", include=["/helper.py", "*.bin"]) == ["helper.py", "x.bin"]
    everything = ["helper.py", "photos/a.jpg", "run.py", "x.bin"]
    assert sent(home / "run.py", include=["/*"]) == everything
    assert sent(home / "run.py", exclude=["*"]) == []
    with pytest.raises(UsageError, match="is your home folder"):
        sent(home / "run.py", include=["*.bin"])  # it was meant for other folders


def test_folders_above_home_and_for_everything_are_no_projects(home, tmp_path):
    german = "Schreibtisch"
    write_files(home, {".config/user-dirs.dirs": f'XDG_DESKTOP_DIR="$HOME/{german}"\n'})
    for name in ("Downloads", "Desktop", german):
        write_files(home, {f"{name}/run.py": ""})
        with pytest.raises(UsageError, match=f"{name} is a folder for all kinds of files"):
            sent(home / name / "run.py")
    with pytest.raises(UsageError, match="is a folder above your home folder"):
        sent(tmp_path)
    write_files(home, {"bin/run.py": "", ".config/gcloud/run.py": ""})
    with pytest.raises(UsageError, match="bin is a folder for all kinds of commands"):
        sent(home / "bin")
    with pytest.raises(UsageError, match="gcloud is a folder for credentials"):
        sent(home / ".config/gcloud/run.py")
    with pytest.raises(UsageError, match="/ is the root of the file system"):
        sent(Path("/"))
    with pytest.raises(UsageError, match="/tmp is a folder for temporary files"):
        sent(Path("/tmp"))


def test_folder_that_everybody_can_write_is_no_project(tmp_path):
    folder = write_files(tmp_path / "shared", {"run.py": ""})
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="that every user of this computer can write to"):
        sent(folder / "run.py")
    folder.chmod(0o775)
    assert sent(folder / "run.py") == ["run.py"]


def test_other_folder_of_import_path_is_asked_for_too(home, tmp_path):
    project = write_files(tmp_path / "me/project", {"run.py": ""})
    assert sent(project / "run.py") == ["run.py"]
    with pytest.raises(UsageError, match="is your home folder"):
        capture(project / "run.py", path=[str(home)])


def test_link_to_home_is_home(home, tmp_path):
    (tmp_path / "link").symlink_to("me")
    (tmp_path / "script").symlink_to("me/run.py")
    for path in (tmp_path / "link", tmp_path / "script", tmp_path / "link/run.py"):
        with pytest.raises(UsageError, match="is your home folder"):
            sent(path)


def test_large_home_is_not_listed(home, monkeypatch):
    for number in range(25):
        folder = home / f"d{number}"
        folder.mkdir()
        for name in range(100):
            (folder / f"{name}").touch()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    with pytest.raises(UsageError, match="at least 19[0-9]{2} files, "):
        sent(home / "run.py")
    assert len(listed) < 30
    listed.clear()
    assert sent(home / "run.py", include=["/helper.py"]) == ["helper.py"]
    assert len(listed) == 1
