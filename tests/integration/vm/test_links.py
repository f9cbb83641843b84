"""A link that fails while a machine boots is a boot error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import vms as vms_folder
from tests.support.vms.projects import make_project, needs_builder

PROGRAM = """
    import bigmachine as bm
    from bigmachine.testing.faults import Fault, Faults
    from vms import VmSystem

    class Cut:
        "Cuts all connections, old and new, when an upload is about to begin."
        def __init__(self, faults):
            self.faults = faults

        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.BootProgress) and event.phase == "upload" and event.total:
                self.faults.inject(Fault.RESET)
                self.faults.partition()

    class Echo:
        def echo(self, value):
            return value

    if __name__ == "__main__":
        faults = Faults(kinds=())
        with bm.Session(VmSystem(), plugins=[faults, Cut(faults)]) as session:
            try:
                session.start(1, services={"Echo": Echo()})
            except bm.StartError as error:
                print(error)
"""


@pytest.mark.long
@needs_builder
def test_upload_that_never_begins_is_boot_error(tmp_path: Path) -> None:
    project = make_project(
        tmp_path / "project", PROGRAM, Path(vms_folder.__file__).with_name("vms.py")
    )
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,  # without the error it would hang
    )
    # The reason depends on the time: the machine was silent, or it has powered itself off.
    assert "m0 did not boot; it failed in phase upload: " in done.stdout, done.stderr
