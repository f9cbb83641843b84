"""A program whose machines have none of its code: from its own point of view."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import vms as vms_folder
from tests.support.drivers import driver
from tests.support.processes import is_running
from tests.support.vms.projects import make_project, needs_a_builder
from tests.support.waiting import until

pytestmark = needs_a_builder

PROGRAM = """
    import json, os, sys
    import bigmachine as bm
    from bigmachine.system import hookimpl
    from vms import VmSystem

    class Watch:
        phases = {}
        captured = []
        @hookimpl
        def event(self, event):
            if isinstance(event, bm.BootProgress):
                self.phases.setdefault(event.phase, []).append((event.done, event.total))
            if isinstance(event, bm.EnvironmentCaptured):
                assert not self.phases
                self.captured.append([event.distributions, event.files, event.size_bytes])

    class Asked:
        def about(self):
            import bigmachine, h11, numpy
            from helpers.deep import answer
            return {
                "answer": answer(),
                "numpy": float(numpy.ones(3).sum()),
                "bigmachine": bigmachine.__file__,
                "h11": h11.__version__,
                "data": open("data.txt").read(),
                "prefix": sys.prefix,
                "argv": sys.argv,
                "pid": os.getpid(),
            }

    if __name__ == "__main__":
        with bm.Session(VmSystem(), plugins=[Watch()]) as session:
            machines = session.start(int(sys.argv[1]), services={"Asked": Asked()})
            told = [machine.call("Asked.about") for machine in machines]
            system = session.system
            found = {"told": told, "phases": Watch.phases, "captured": Watch.captured}
            print(json.dumps(found), flush=True)
            if "wait" in sys.argv:
                print(json.dumps([vm.pid for vm in system.vms.values()]), flush=True)
                sys.stdin.read()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(
        tmp_path / "project", PROGRAM, Path(vms_folder.__file__).with_name("vms.py")
    )


def environ(tmp_path: Path) -> dict[str, str]:
    # What a VM leaves of its disk goes with the test's own folder.
    (tmp_path / "disks").mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(tmp_path / "disks")}


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=project,
        env=environ(project.parent),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_program_finds_its_own_code_and_all_that_is_installed_on_its_machines(project: Path):
    found = result(run(project, "2"))
    for told in found["told"]:
        assert told["answer"] == 42
        assert told["numpy"] == 3.0
        assert told["data"] == "some data"
        assert told["argv"][1:] == ["2"]
        # Not the driver's own, which happens to be on the same computer.
        assert told["bigmachine"].startswith(told["prefix"])
        assert "bigmachine-vm-" in told["prefix"]
    assert len({told["pid"] for told in found["told"]}) == 2
    assert list(found["phases"]) == ["boot", "identify", "upload", "build", "start"]
    [[distributions, files, size_bytes]] = found["captured"]
    assert distributions > 10
    assert files == 5  # the program's own, this of its machines, and its data
    assert size_bytes in {of for _, of in found["phases"]["upload"]}
    uploaded = [done for done, of in found["phases"]["upload"] if of]
    assert uploaded[-1] > 0
    assert list((project.parent / "disks").iterdir()) == []


def test_a_module_with_a_syntax_error_is_told_with_the_machines_own_words(project: Path):
    (project / "helpers" / "deep" / "__init__.py").write_text("def answer(:\n")
    done = run(project, "1")
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr
    assert "def answer(:" in done.stderr


@pytest.mark.parametrize("hangs", [False, True], ids=["runs", "hangs"])
def test_when_the_driver_is_killed_its_machines_power_off(project: Path, hangs: bool):
    arguments = ("main.py", "1", "wait")
    with driver(*arguments, cwd=project, environ=environ(project.parent)) as process:
        [told] = json.loads(process.read_line())["told"]
        [boot] = json.loads(process.read_line())
        if hangs:  # and can't see by itself that its driver is gone
            os.kill(told["pid"], signal.SIGSTOP)
        process.kill()
        until(lambda: not any(map(is_running, (boot, told["pid"]))))
