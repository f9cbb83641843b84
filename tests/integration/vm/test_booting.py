"""Programs whose machines have none of their code, as the program sees it."""

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
from tests.support.vms.projects import make_project, needs_builder
from tests.support.waiting import until

pytestmark = needs_builder

PROGRAM = """
    import json, os, sys
    import bigmachine as bm
    from bigmachine.system import hookimpl
    from vms import VmOptions, VmSystem

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

    class Reporter:
        def report(self):
            import bigmachine, h11, numpy
            from helpers.deep import answer
            return {
                "answer": answer(),
                "numpy": float(numpy.ones(3).sum()),
                "bigmachine": bigmachine.__file__,
                "h11": h11.__version__,
                "data": open("data.txt").read(),
                "odd": [ascii(name) for name in os.listdir() if "odd" in name],
                "prefix": sys.prefix,
                "argv": sys.argv,
                "pid": os.getpid(),
            }

    if __name__ == "__main__":
        with bm.Session(VmSystem(VmOptions(verify_boot=True)), plugins=[Watch()]) as session:
            machines = session.start(int(sys.argv[1]), services={"Reporter": Reporter()})
            reports = [machine.call("Reporter.report") for machine in machines]
            system = session.system
            found = {"reports": reports, "phases": Watch.phases, "captured": Watch.captured}
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
    # A VM's disk is in the test's own folder, which is deleted.
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


@pytest.mark.long
def test_program_finds_its_code_and_distributions_on_its_machines(project: Path):
    (project / os.fsdecode(b"odd\n\xff.txt")).write_text("not UTF-8")
    (project / "odd.env").write_text("A=1")  # a secret
    found = result(run(project, "2"))
    for report in found["reports"]:
        assert report["answer"] == 42
        assert report["numpy"] == 3.0
        assert report["data"] == "some data"
        assert report["odd"] == [r"'odd\n\udcff.txt'"]
        assert report["argv"][1:] == ["2"]
        # Not the driver's, although the driver runs on the same computer.
        assert report["bigmachine"].startswith(report["prefix"])
        assert "bigmachine-vm-" in report["prefix"]
    assert len({report["pid"] for report in found["reports"]}) == 2
    assert list(found["phases"]) == ["boot", "verify", "identify", "upload", "build", "start"]
    [[distributions, files, size_bytes]] = found["captured"]
    assert distributions > 10
    assert files == 6  # the program's modules, vms.py, the data and the odd one
    assert size_bytes in {total for _, total in found["phases"]["upload"]}
    uploaded = [done for done, total in found["phases"]["upload"] if total]
    assert uploaded[-1] > 0
    assert list((project.parent / "disks").iterdir()) == []


@pytest.mark.long
def test_syntax_error_on_machine_is_shown_by_driver(project: Path):
    (project / "helpers" / "deep" / "__init__.py").write_text("def answer(:\n")
    done = run(project, "1")
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr
    assert "def answer(:" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("hangs", [False, True], ids=["runs", "hangs"])
def test_machines_power_off_after_driver_is_killed(project: Path, hangs: bool):
    arguments = ("main.py", "1", "wait")
    with driver(*arguments, cwd=project, environ=environ(project.parent)) as process:
        [report] = json.loads(process.read_line())["reports"]
        [boot] = json.loads(process.read_line())
        if hangs:  # so that it can't notice that its driver is gone
            os.kill(report["pid"], signal.SIGSTOP)
        process.kill()
        until(lambda: not any(map(is_running, (boot, report["pid"]))))
