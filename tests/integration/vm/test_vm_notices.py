"""A VM's interruption notice reaches the driver, and later explains the end of the VM."""

from __future__ import annotations

from pathlib import Path

from tests.support import vms as vms_folder
from tests.support.vms.projects import make_project, needs_builder, run_project

PROGRAM = """
    import json, os, signal, threading
    from pathlib import Path
    import bigmachine as bm
    import trio
    from vms import VmSystem

    ANNOUNCED = Path.cwd() / "announced"

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
                print(json.dumps([observer.kind, state, exc.reason.name, str(exc)]))
"""


@needs_builder
def test_announced_end_of_vm_is_interruption(tmp_path: Path):
    (tmp_path / "disks").mkdir()
    vms = Path(vms_folder.__file__).with_name("vms.py")
    folder = make_project(tmp_path / "project", PROGRAM, vms)
    kind, state, reason, text = run_project(folder, TMPDIR=str(tmp_path / "disks"))
    assert (kind, state, reason) == ("interruption", "RUNNING", "INTERRUPTED")
    assert "the worker ended with status -15" in text
    assert "before that there was notice: the provider needs the capacity" in text
