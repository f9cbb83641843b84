"""A large service goes from the driver to one host, and from host to host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import vms as vms_folder
from tests.support.cloudbox import Box
from tests.support.cloudbox.fixtures import InBox
from tests.support.vms.box_cloud import BoxCloud, driver
from tests.support.vms.projects import make_project, needs_builder

pytestmark = [needs_builder, pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]

SIZE = 24 << 20

PROGRAM = f"""
    import json, os, sys
    import bigmachine as bm
    from box_system import BoxOptions, BoxSystem

    class State:
        def __init__(self):
            self.content = bytearray(os.urandom({SIZE}))

        def total(self):
            return sum(self.content)

    def sent(machine):
        return machine._machine._controller._link.connection._channel.sent_bytes

    if __name__ == "__main__":
        with bm.Session(BoxSystem(BoxOptions(endpoint=sys.argv[1]))) as session:
            state = State()
            machines = session.start(3, services={{"State": state}})
            totals = [machine.call("State.total") == state.total() for machine in machines]
            print(json.dumps({{"are_equal": totals, "sent": [*map(sent, machines)]}}), flush=True)
            sys.stdin.read()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(
        tmp_path / "project", PROGRAM, Path(vms_folder.__file__).with_name("box_system.py")
    )


def test_driver_sends_the_state_of_three_hosts_once(in_box: InBox, project: Path) -> None:
    async def main(box: Box) -> None:
        async with BoxCloud(box).serving() as cloud, driver(project, cloud) as program:
            found = await program.until(sent=...)
            assert found["are_equal"] == [True] * 3
            assert SIZE < sum(found["sent"]) < 1.2 * SIZE
            assert await program.end() == 0

    in_box(main)
