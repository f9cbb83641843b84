"""Machines come up on hosts that have python3 and cloud-init, and no way to any index."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bigmachine.environment._tools import find_pip, find_uv
from tests.cloudbox import why_not

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = """
    import json, sys, time
    import trio
    import bigmachine as bm
    from box_system import BoxSystem
    from tests.cloudbox import Box

    class Watch:
        began = {}

        @bm.hookimpl
        def event(self, event):
            if isinstance(event, (bm.BootProgress, bm.MachineChanged)):
                phase = getattr(event, "phase", None) or event.state.name
                self.began.setdefault(phase, time.monotonic())

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
            }

    async def main():
        async with Box() as box:
            watch = Watch()
            async with bm.AsyncSession(BoxSystem(box), plugins=[watch]) as session:
                began = time.monotonic()
                [machine] = await session.start(1, services={"Asked": Asked()})
                told = await machine.call("Asked.about")
                [host] = box.hosts
                if "cut" in sys.argv:
                    timeout = session.system.timings.timeout
                    await host.cut()
                    await trio.sleep(timeout / 3)
                    await host.mend()
                    told["again"] = await machine.call("Asked.about")
                    await host.cut()
                    await machine.wait(bm.State.STOPPED)
                    told["error"] = str(machine.error)
                    with trio.move_on_after(2 * timeout):
                        await host.wait_off()
                    told["console"] = host.console()
            seconds = {phase: round(at - began, 2) for phase, at in watch.began.items()}
            print(json.dumps({"told": told, "seconds": seconds, "off": host.is_off}))

    trio.run(main)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a program, a package of its own and some data."""
    if reason := why_not():
        pytest.skip(f"a cloud in a box {reason}")
    if not (find_uv() or find_pip()):
        pytest.skip("editable packages are built by uv or pip: neither is here")
    folder = tmp_path / "project"
    (folder / "helpers" / "deep").mkdir(parents=True)
    (folder / "helpers" / "__init__.py").touch()
    (folder / "helpers" / "deep" / "__init__.py").write_text("def answer():\n    return 42\n")
    (folder / "data.txt").write_text("some data")
    (folder / "main.py").write_text(textwrap.dedent(PROGRAM))
    shutil.copy(Path(__file__).with_name("box_system.py"), folder)
    return folder


def run(project: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_link_that_is_cut_for_a_moment_costs_nothing_and_for_longer_the_machine(project: Path):
    found = run(project, "cut")
    told = found["told"]
    assert told["again"]["answer"] == 42
    # Whichever of the two is noticed first: both ends wait as long.
    assert re.search("it was silent for|its host is powered off", told["error"])
    # It has seen for itself that nobody asks any more.
    assert "no keepalive came in time" in told["console"]
    assert "ending: the worker ended with status 1" in told["console"]
    assert found["off"]


def test_a_host_that_has_only_python_runs_the_programs_code_with_all_that_it_imports(project: Path):
    found = run(project)
    print("seconds after start:", found["seconds"])
    told = found["told"]
    assert told["answer"] == 42
    assert told["numpy"] == 3.0
    assert told["data"] == "some data"
    assert told["bigmachine"].startswith("/var/lib/bigmachine/environments/")
    phases = ["STARTING", "boot", "identify", "upload", "build", "start", "RUNNING", "STOPPED"]
    assert list(found["seconds"]) == phases
    assert found["off"]
