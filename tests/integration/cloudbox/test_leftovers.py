"""Nothing of a box outlives its owner, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.integration.cloudbox.conftest import SOON, Quick, eventually, is_up
from tests.support.cloudbox import Box, left
from tests.support.cloudbox._leftovers import processes_of, sweep_dead
from tests.support.cloudbox.fixtures import InBox
from tests.support.paths import ROOT

OWNER = """\
import trio
from tests.support.cloudbox import Box
from tests.integration.cloudbox.conftest import Quick, is_up

async def main():
    async with Box() as box:
        for host in [await box.boot(Quick()) for _ in range(2)]:
            await is_up(host)
        print(box.name, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def test_closed_box_with_running_hosts_leaves_no_resources(in_box: InBox) -> None:
    boxes: list[Box] = []

    async def main(box: Box) -> None:
        boxes.append(box)
        await is_up(await box.boot(Quick()))
        await box.boot(Quick())  # and one that has hardly begun
        kinds = {line.split()[0] for line in box.left()}
        assert kinds == {"cgroup", "process", "card"}

    in_box(main)
    assert boxes[0].left() == []


def test_exception_is_not_wrapped_by_box(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_box(main)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_owner_ended_by_signal_leaves_no_resources(in_box: InBox, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    async def main() -> None:
        assert owner.stdout
        try:
            with trio.fail_after(SOON):
                name = (await trio.to_thread.run_sync(owner.stdout.readline)).strip()
            assert len([line for line in left(name) if line.startswith("process")]) > 20
        finally:
            owner.send_signal(number)
        assert owner.wait() != 0
        await eventually(lambda: not left(name))

    with owner:
        trio.run(main)


def test_host_ends_with_its_supervisor_and_box_removes_leftovers(
    in_box: InBox,
) -> None:
    boxes: list[Box] = []

    async def main(box: Box) -> None:
        boxes.append(box)
        host = await box.boot(Quick())
        await is_up(host)
        host._process.kill()
        with trio.fail_after(SOON):
            await host.wait_off()
        await eventually(lambda: not processes_of(host.group))
        assert any(host.group in line for line in box.left())

    in_box(main)
    assert boxes[0].left() == []


def test_only_leftovers_of_dead_owners_are_removed(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(Quick())
        await is_up(host)
        group = next(line for line in box.left() if line.startswith("cgroup"))
        hierarchy = Path(group.removeprefix("cgroup ")).parent
        dead = hierarchy / f"cloudbox-{os.getpid()}-1-0-h11"  # that had our number before us
        (dead / "payload").mkdir(parents=True)
        sweep_dead()
        assert not dead.exists()
        assert await host.run("echo", "here") == "here\n"

    in_box(main)
