from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bigmachine.environment._import_path import split_import_path
from bigmachine.errors import UsageError
from tests.unit.environment.kit import write_files

PRINT_SCRIPT_FOLDER = """
import sys
from bigmachine.environment._import_path import split_import_path
print(split_import_path(sys.path).script)
"""


def run_python(*arguments: str | Path, cwd: Path) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd)
    return done.stdout.strip()


def test_script_folder_is_folder_that_contains_script(tmp_path):
    write_files(
        tmp_path,
        {"project/run.py": PRINT_SCRIPT_FOLDER, "package/__main__.py": PRINT_SCRIPT_FOLDER},
    )
    assert run_python(tmp_path / "project/run.py", cwd=Path("/")) == str(tmp_path / "project")


def test_script_folder_of_link_is_folder_of_real_script(tmp_path):
    write_files(tmp_path, {"project/run.py": PRINT_SCRIPT_FOLDER, "bin/unrelated": ""})
    (tmp_path / "bin/run").symlink_to("../project/run.py")
    (tmp_path / "linked").symlink_to("project")
    (tmp_path / "again").symlink_to("bin/run")
    for link in ("bin/run", "linked/run.py", "again"):
        assert run_python(tmp_path / link, cwd=Path("/")) == str(tmp_path / "project")
        places = split_import_path([str(tmp_path / "project")], script=tmp_path / link)
        assert places.folders == (tmp_path / "project",)


def test_script_folder_of_linked_package_is_parent_of_link(tmp_path):
    write_files(tmp_path, {"real/package/run.py": PRINT_SCRIPT_FOLDER, "work/x.py": ""})
    (tmp_path / "work/package").symlink_to("../real/package")
    assert run_python("-m", "package.run", cwd=tmp_path / "work") == str(tmp_path / "work")


def test_deleted_current_folder_is_no_folder(tmp_path, monkeypatch):
    write_files(tmp_path, {"gone/x": "", "own/x.py": ""})
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone/x").unlink()
    (tmp_path / "gone").rmdir()
    monkeypatch.delattr("__main__.__file__", raising=False)
    path = ["", ".", "relative", str(tmp_path / "own")]
    assert split_import_path(path).folders == (tmp_path / "own",)


def test_script_folder_of_module_is_parent_of_its_package(tmp_path):
    write_files(tmp_path, {"package/__init__.py": "", "package/sub/run.py": PRINT_SCRIPT_FOLDER})
    assert run_python("-m", "package.sub.run", cwd=tmp_path) == str(tmp_path)


def test_script_folder_without_file_is_current_folder(tmp_path):
    assert run_python("-c", PRINT_SCRIPT_FOLDER, cwd=tmp_path) == str(tmp_path)


def test_installed_program_has_no_script_folder(tmp_path):
    write_files(tmp_path, {"venv/pyvenv.cfg": "", "venv/bin/program": PRINT_SCRIPT_FOLDER})
    assert run_python(tmp_path / "venv/bin/program", cwd=tmp_path) == "None"


def test_folders_of_python_and_tools_are_not_local_folders(tmp_path):
    write_files(
        tmp_path,
        {
            "lib/python3.11/os.py": "",
            "lib/python3.11/lib-dynload/x.so": "",
            "lib/python3.11/site-packages/setuptools/_vendor/x.py": "",
            "lib/python3.11/site-packages/x.py": "",
            "bin/program": "",
            "pyvenv.cfg": "",
            "target/x-1.dist-info/METADATA": "",
            "home/.ipython/profile_default/history.sqlite": "",
            "own/x.py": "",
            "project/run.py": "",
        },
    )
    lib = tmp_path / "lib/python3.11"
    path = [tmp_path / "bin", tmp_path / "lib/python311.zip", lib, lib / "lib-dynload"]
    path += [lib / "site-packages", lib / "site-packages/setuptools/_vendor"]
    path += [tmp_path / "own", tmp_path / "gone", tmp_path / "target", tmp_path / "home/.ipython"]
    places = split_import_path([*map(str, path)], script=tmp_path / "project/run.py")
    assert places.folders == (tmp_path / "project", tmp_path / "own")
    assert places.sites == (lib / "site-packages", tmp_path / "target")


def test_folder_is_listed_once_in_order_of_import_path(tmp_path, monkeypatch):
    write_files(tmp_path, {"a/run.py": "", "b/x.py": ""})
    (tmp_path / "link").symlink_to("b")
    monkeypatch.chdir(tmp_path)
    path = [str(tmp_path / "b"), "b", "", str(tmp_path / "a"), str(tmp_path / "link")]
    places = split_import_path(path, script="a/run.py")
    assert places.folders == (tmp_path / "b", tmp_path, tmp_path / "a")
    assert places.script == tmp_path / "a"


def test_distribution_beside_script_belongs_to_script_folder(tmp_path):
    write_files(tmp_path, {"run.py": "", "x-1.dist-info/METADATA": "", "x.py": ""})
    places = split_import_path([str(tmp_path)], script=tmp_path / "run.py")
    assert (places.folders, places.sites) == ((tmp_path,), ())


def test_archive_on_import_path_is_skipped_with_warning(tmp_path, caplog):
    write_files(tmp_path, {"modules.zip": "", "python311.zip": ""})
    path = [str(tmp_path / "modules.zip"), str(tmp_path / "python311.zip")]
    assert split_import_path(path, script=tmp_path).folders == (tmp_path,)
    [message] = caplog.messages
    assert "modules.zip is on the import path but is not a folder: it is not sent" in message


def test_missing_script_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no such script: .*nowhere\.py"):
        split_import_path([], script=tmp_path / "nowhere.py")
