"""A VM is told that it will be taken back: its driver knows it before it happens, and why after."""

from __future__ import annotations

from pathlib import Path

from tests.support import vms as vms_folder
from tests.support.vms.projects import make_project, needs_a_builder, told_by

PROGRAM = """
    import json, os, signal, threading
    from pathlib import Path
    import bigmachine as bm
    import trio
    from vms import VmSystem

    ANNOUNCED = Path.cwd() / "announced"

    class Spot(VmSystem):
        "Its provider announces by a file, and takes back without a word."
        async def notices(self):
            while not ANNOUNCED.exists():
                await trio.sleep(0.05)
            yield bm.Notice("interruption", "it will be taken back")

    class Shop:
        def close(self):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait()

    class Observer:
        def __init__(self):
            self.told = threading.Event()
        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.MachineNotice):
                self.kind = event.kind
                self.told.set()

    if __name__ == "__main__":
        observer = Observer()
        with bm.Session(Spot(), plugins=[observer]) as session:
            [machine] = session.start(1, services={"Shop": Shop()})
            ANNOUNCED.touch()
            assert observer.told.wait(60)
            state = machine.state.name
            try:
                machine.call("Shop.close")
            except bm.MachineStopped as exc:
                print(json.dumps([observer.kind, state, exc.reason.name, str(exc)]))
"""


@needs_a_builder
def test_the_end_of_a_vm_that_was_announced_is_an_interruption(tmp_path: Path):
    (tmp_path / "disks").mkdir()
    vms = Path(vms_folder.__file__).with_name("vms.py")
    folder = make_project(tmp_path / "project", PROGRAM, vms)
    kind, state, reason, text = told_by(folder, TMPDIR=str(tmp_path / "disks"))
    assert (kind, state, reason) == ("interruption", "RUNNING", "INTERRUPTED")
    assert "the worker ended with status -15" in text
    assert "before that there was notice: it will be taken back" in text
