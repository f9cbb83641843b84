from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from bigmachine.environment._local_file import open_regular
from bigmachine.environment._scan import MAX_ENTRIES, scan
from bigmachine.errors import UsageError
from tests.unit.environment.kit import write_files


def scanned_paths(folder: Path, **options) -> list[str]:
    return [file.path for file in scan(folder, **options).files]


def test_files_of_tools_are_skipped(tmp_path):
    write_files(
        tmp_path,
        {
            "a.py": "",
            "__pycache__/a.pyc": "",
            "b.pyc": "",
            ".git/HEAD": "",
            "sub/.mypy_cache/x": "",
            "sub/node_modules/x": "",
            ".venv/pyvenv.cfg": "",
            ".venv/lib/x.py": "",
            "conda/conda-meta/history": "",
            "conda/lib/x.py": "",
            "sub/b.py": "",
        },
    )
    assert scanned_paths(tmp_path) == ["a.py", "sub/b.py"]


def test_include_overrides_gitignore_and_exclude_overrides_both(tmp_path):
    files = dict.fromkeys(["a.py", "data/a.bin", "data/deep/b.bin", "data/c.csv", "x.log"], "")
    write_files(tmp_path, {**files, ".gitignore": "data/\n*.log\n", "data/.gitignore": "*\n"})
    assert scanned_paths(tmp_path) == [".gitignore", "a.py"]
    assert scanned_paths(tmp_path, include=["*.bin"])[2:] == ["data/a.bin", "data/deep/b.bin"]
    assert scanned_paths(tmp_path, include=["/data/deep"])[2:] == ["data/deep/b.bin"]
    everything = [".gitignore", "a.py", "data/.gitignore", "data/a.bin", "data/c.csv"]
    assert scanned_paths(tmp_path, include=["data/"], exclude=["deep"]) == everything
    assert scanned_paths(tmp_path, exclude=["*.py", ".gitignore"]) == []


def test_each_file_has_size_and_executable_mode(tmp_path):
    write_files(tmp_path, {"run": "12345", "text": "1"})
    (tmp_path / "run").chmod(0o700)
    (tmp_path / "text").chmod(0o666)
    folder = scan(tmp_path)
    assert [(f.path, f.size_bytes, f.mode) for f in folder.files] == [
        ("run", 5, 0o755),
        ("text", 1, 0o644),
    ]
    assert folder.size_bytes == 6


def test_link_inside_folder_is_replaced_by_its_target(tmp_path):
    write_files(tmp_path, {"real/a.py": "12", "real/b.py": ""})
    (tmp_path / "link.py").symlink_to("real/a.py")
    (tmp_path / "linked").symlink_to("real")
    paths = ["link.py", "linked/a.py", "linked/b.py", "real/a.py", "real/b.py"]
    assert scanned_paths(tmp_path) == paths
    assert scan(tmp_path).files[0].size_bytes == 2


def test_broken_external_and_circular_links_are_skipped_with_warning(tmp_path, caplog):
    write_files(
        tmp_path, {"project/sub/a.py": "", "outside.txt": "", "project/.gitignore": "quiet"}
    )
    project = tmp_path / "project"
    (project / "broken").symlink_to("nowhere")
    (project / "out").symlink_to("../outside.txt")
    (project / "quiet").symlink_to("../outside.txt")
    (project / "sub/around").symlink_to("..")
    os.mkfifo(project / "pipe")
    assert scanned_paths(project) == [".gitignore", "sub/a.py"]
    [message] = caplog.messages
    assert "broken (a broken link)" in message
    assert f"out (a link that points outside the folder, to {tmp_path}/outside.txt)" in message
    assert "sub/around (a link to a folder that contains it)" in message
    assert "pipe (not a regular file)" in message
    assert "quiet" not in message


def test_folder_that_is_itself_a_link_is_followed(tmp_path):
    write_files(tmp_path, {"real/a.py": "", "real/link.py": ""})
    (tmp_path / "project").symlink_to("real")
    (tmp_path / "real/b.py").symlink_to("a.py")
    assert scanned_paths(tmp_path / "project") == ["a.py", "b.py", "link.py"]


@pytest.mark.parametrize("secret", ["secret.txt", "secret/", ".gitignore"])
def test_error_names_unreadable_path(secret, as_unprivileged_user):
    folder = Path(tempfile.mkdtemp())
    try:
        write_files(folder, {"a.py": "", secret + "x" * secret.endswith("/"): ""})
        (folder / secret).chmod(0)
        with pytest.raises(UsageError, match=rf"{folder / secret} must .*(?i:permission denied)"):
            scan(folder)
    finally:
        (folder / secret).chmod(0o700)
        shutil.rmtree(folder)


def test_unreadable_secret_is_no_error(as_unprivileged_user):
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), {"a.py": "", ".env": "", ".ssh/id_rsa": ""})
        for name in (".env", ".ssh"):
            (Path(folder) / name).chmod(0)
        assert scanned_paths(Path(folder)) == ["a.py"]
        (Path(folder) / ".ssh").chmod(0o700)


@pytest.mark.parametrize("name", ["pipe", ".gitignore", "sub/.gitignore"])
def test_pipe_never_blocks(tmp_path, name):
    write_files(tmp_path, {"a.py": "", "sub/b.py": ""})
    os.mkfifo(tmp_path / name)
    assert scanned_paths(tmp_path) == ["a.py", "sub/b.py"]
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / name)


def test_links_to_themselves_and_odd_names_are_no_error(tmp_path):
    names = ["x" * 255, "new\nline.txt", os.fsdecode(b"\xff"), "\x1b[31m.env"]
    write_files(tmp_path, dict.fromkeys(names, ""))
    for name in ("loop", ".gitignore", "__pycache__", ".env"):
        (tmp_path / name).symlink_to(name)
    folder = scan(tmp_path)
    assert [file.path for file in folder.files] == sorted(names[:3])
    assert {each.path: each.why for each in folder.left_out} == {
        ".gitignore": "a broken link",
        "__pycache__": "a broken link",
        "loop": "a broken link",
        ".env": "settings that often hold secrets",
        "\x1b[31m.env": "settings that often hold secrets",
    }
    assert str(next(e for e in folder.left_out if "31m" in e.path)).startswith(r"\x1b[31m.env (")


def test_error_for_too_many_files_names_their_folders(tmp_path):
    write_files(tmp_path, {f"photos/{n}/{m}.jpg": "" for n in range(10) for m in range(10)})
    write_files(tmp_path, {"a.py": "", ".venv/pyvenv.cfg": ""})
    with pytest.raises(UsageError, match=r"more than 50 files.* photos \(\d+\).*exclude="):
        scan(tmp_path, max_entries=50)
    assert scanned_paths(tmp_path, max_entries=50, exclude=["photos"]) == ["a.py"]
    assert MAX_ENTRIES < 100_000


def test_huge_flat_folder_is_not_listed_completely(tmp_path):
    write_files(tmp_path, {str(n): "" for n in range(100)})
    with pytest.raises(UsageError, match=r"more than 10 files.* \. \(11\)|more than 10 files"):
        scan(tmp_path, max_entries=10)
