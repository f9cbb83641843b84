"""Sessions in programs that are run in unusual ways: what these define reaches the machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

BODY = """
import functools
import bigmachine as bm

@functools.cache
def twice(x):
    return 2 * x

class HttpError(Exception):
    def __init__(self, code, *, text):
        super().__init__(text)
        self.code = code

class Service:
    def twice(self, x):
        return twice(x)
    def itself(self):
        return self
    def fail(self):
        raise HttpError(404, text="gone")
    def relative(self):
        from .sibling import VALUE
        return VALUE

def run():
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"S": Service()})
        assert machine.call("S.twice", 4) == 8
        assert type(machine.call("S.itself")) is Service
        try:
            machine.call("S.fail")
        except HttpError as exc:
            assert (exc.code, str(exc)) == (404, "gone")
            print("ran in", __name__, flush=True)
        if __package__:
            assert machine.call("S.relative") == 5
"""
MAIN = BODY + "if __name__ == '__main__': run()\n"
SPAWN = """
import multiprocessing, sys
if __name__ == '__main__':
    process = multiprocessing.get_context(sys.argv[1]).Process(target=run)
    process.start()
    process.join()
"""
RUN_PATH = "import runpy; runpy.run_path('script.py')['run']()"
EXECUTED = "namespace = {}; exec(open('script.py').read(), namespace); namespace['run']()"
DELETED = "import script, os; os.remove('script.py'); script.run()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "sibling.py").write_text("VALUE = 5\n")
    (tmp_path / "package" / "module.py").write_text(MAIN)
    (tmp_path / "script.py").write_text(MAIN)
    (tmp_path / "spawning.py").write_text(BODY + SPAWN)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(BODY + "def test_it(): run()\n")
    return tmp_path


PROGRAMS = {
    "script": (["script.py"], "__main__"),
    "module of a package": (["-m", "package.module"], "__main__"),
    "standard input": (["-"], "__main__"),
    "runpy": (["-c", RUN_PATH], "<run_path>"),
    "exec": (["-c", EXECUTED], "builtins"),
    "module whose file is deleted": (["-c", DELETED], "script"),
    "spawned child": (["spawning.py", "spawn"], "__mp_main__"),
    "child of a fork server": (["spawning.py", "forkserver"], "__mp_main__"),
    "IPython's %run": (["-m", "IPython", "--no-banner", "-c", "%run script.py"], "__main__"),
    "pytest": (["-m", "pytest", "-sq", "tests"], "test_it"),
    "pytest by importlib": (["-m", "pytest", "-sq", "--import-mode=importlib", "tests"], "test_it"),
}


@pytest.mark.parametrize("how", PROGRAMS)
def test_program_runs_its_own_classes_on_machine(how: str, folder: Path) -> None:
    arguments, name = PROGRAMS[how]
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        input=MAIN if arguments == ["-"] else "",
        capture_output=True,
        text=True,
    )
    assert f"ran in {name}" in run.stdout or f"ran in tests.{name}" in run.stdout, run.stderr
