"""A VM's interruption notice reaches the driver, and later explains the end of the VM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import vms as vms_folder
from tests.support.vms.projects import make_project, needs_builder, run_project

PROGRAM = """
    import json, os, signal, threading
    from pathlib import Path
    import bigmachine as bm
    import trio
    from vms import VmSystem

    ANNOUNCED = Path.cwd() / "announced"
    TORN_DOWN = Path.cwd() / "torn-down"

    class Spot(VmSystem):
        "Its provider announces an interruption by a file."
        async def notices(self):
            while not ANNOUNCED.exists():
                await trio.sleep(0.05)
            yield bm.Notice("interruption", "the provider needs the capacity")

    class Crasher:
        def crash(self):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait()
        def teardown(self):
            TORN_DOWN.touch()

    class Observer:
        def __init__(self):
            self.is_notified = threading.Event()
        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.MachineNotice):
                self.kind = event.kind
                self.is_notified.set()

    if __name__ == "__main__":
        observer = Observer()
        with bm.Session(Spot(), plugins=[observer]) as session:
            [machine] = session.start(1, services={"Crasher": Crasher()})
            ANNOUNCED.touch()
            assert observer.is_notified.wait(60)
            state = machine.state.name
            try:
                machine.call("Crasher.crash")
            except bm.MachineStopped as exc:
                report = [observer.kind, state, exc.reason.name, str(exc), TORN_DOWN.exists()]
                print(json.dumps(report))
"""


@pytest.mark.long
@needs_builder
def test_announced_end_of_vm_is_interruption(tmp_path: Path):
    (tmp_path / "disks").mkdir()
    vms = Path(vms_folder.__file__).with_name("vms.py")
    folder = make_project(tmp_path / "project", PROGRAM, vms)
    report = run_project(folder, TMPDIR=str(tmp_path / "disks"))
    kind, state, reason, text, is_torn_down = report
    assert (kind, state, reason) == ("interruption", "RUNNING", "INTERRUPTED")
    assert "the worker ended with status -15" in text
    assert is_torn_down
    assert "before that there was notice: the provider needs the capacity" in text


STOPPED_BY_SERVICE_MANAGER = """
    import os, signal
    from pathlib import Path
    import bigmachine as bm
    from vms import VmSystem

    TORN_DOWN = Path.cwd() / "torn-down"

    class Torn:
        def teardown(self):
            TORN_DOWN.touch()

    if __name__ == "__main__":
        system = VmSystem()
        with bm.Session(system) as session:
            [machine] = session.start(1, services={"Torn": Torn()})
            [vm] = system.vms.values()
            os.kill(vm.pid, signal.SIGTERM)
            machine.wait(bm.State.STOPPED)
            print(int(TORN_DOWN.exists()))
"""


@needs_builder
@pytest.mark.long
def test_teardown_runs_if_service_manager_stops_boot_program(tmp_path: Path):
    (tmp_path / "disks").mkdir()
    vms = Path(vms_folder.__file__).with_name("vms.py")
    folder = make_project(tmp_path / "project", STOPPED_BY_SERVICE_MANAGER, vms)
    assert run_project(folder, TMPDIR=str(tmp_path / "disks")) == 1
