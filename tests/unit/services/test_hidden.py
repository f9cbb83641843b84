"""A file of the user's that hides a library is named before anything of ours imports it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bigmachine.services._hidden import LIBRARIES, STANDARD

PROGRAM = """
import bigmachine as bm
bm.Session
print("has a session")
"""

NEEDED = """
import sys
from_start = set(sys.modules)
import bigmachine as bm

class Modules:
    def loaded(self):
        return set(sys.modules)

with bm.Session("local") as session:
    [machine] = session.start(1, services={"Modules": Modules()})
    needed = machine.call("Modules.loaded") | set(sys.modules)
print(*{name.partition(".")[0] for name in needed} - from_start)
"""


def run(file: Path, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    file.parent.mkdir(exist_ok=True)
    file.write_text(program)
    return subprocess.run([sys.executable, str(file)], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["h2", "http", "queue", "re", "trio", "enum"])
def test_script_with_name_of_library_is_usage_error(tmp_path: Path, name: str) -> None:
    script = tmp_path / f"{name}.py"
    done = run(script)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"bigmachine.errors.UsageError: {script} hides ")
    assert last.endswith(f" {name}, which bigmachine needs: rename it")


def test_only_files_that_hide_something_are_refused(tmp_path: Path) -> None:
    (tmp_path / "http").mkdir()  # without an __init__.py, it comes last
    (tmp_path / "trio").mkdir()  # perhaps the library itself, on PYTHONPATH
    for harmless in ("test.py", "os.py", "numpy.py", "queue.txt", "trio/__init__.py"):
        (tmp_path / harmless).touch()
    assert run(tmp_path / "program.py", PROGRAM).stdout == "has a session\n"
    (tmp_path / "http" / "__init__.py").touch()
    assert "http/__init__.py hides" in run(tmp_path / "program.py").stderr
    (tmp_path / "h11-1.0.dist-info").mkdir()  # libraries are installed here
    assert run(tmp_path / "program.py").stdout == "has a session\n"


@pytest.mark.long
def test_every_module_that_session_needs_is_known(tmp_path: Path) -> None:
    done = run(tmp_path / "program.py", NEEDED)
    names = {name for name in done.stdout.split() if not name.startswith(("_", "bigmachine"))}
    assert len(names) > 80, done.stderr
    optional = {"ntpath", "colorsys", "decimal", "fractions", "html"}  # of httpx's command line
    assert names - STANDARD - LIBRARIES - optional - set(sys.builtin_module_names) == set()
