"""No resource of a box outlives its owner, however the owner ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.integration.cloudbox.conftest import TIMEOUT, EchoCloud, wait_until, wait_until_up
from tests.support.cloudbox import Box, leftovers
from tests.support.cloudbox._leftovers import processes_of, remove_leftovers_of_dead_boxes
from tests.support.cloudbox.fixtures import InBox
from tests.support.paths import ROOT

OWNER = """\
import trio
from tests.support.cloudbox import Box
from tests.integration.cloudbox.conftest import EchoCloud, wait_until_up

async def main():
    async with Box() as box:
        for host in [await box.boot(EchoCloud()) for _ in range(2)]:
            await wait_until_up(host)
        print(box.name, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def test_closed_box_with_running_hosts_leaves_no_resources(in_box: InBox) -> None:
    boxes: list[Box] = []

    async def main(box: Box) -> None:
        boxes.append(box)
        await wait_until_up(await box.boot(EchoCloud()))
        await box.boot(EchoCloud())  # this one has only begun to boot
        kinds = {line.split()[0] for line in box.leftovers()}
        assert kinds == {"cgroup", "process", "card"}

    in_box(main)
    assert boxes[0].leftovers() == []


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
            with trio.fail_after(TIMEOUT):
                name = (await trio.to_thread.run_sync(owner.stdout.readline)).strip()
            assert len([line for line in leftovers(name) if line.startswith("process")]) > 20
        finally:
            owner.send_signal(number)
        assert owner.wait() != 0
        await wait_until(lambda: not leftovers(name))

    with owner:
        trio.run(main)


def test_host_ends_with_its_supervisor_and_box_removes_leftovers(
    in_box: InBox,
) -> None:
    boxes: list[Box] = []

    async def main(box: Box) -> None:
        boxes.append(box)
        host = await box.boot(EchoCloud())
        await wait_until_up(host)
        host._process.kill()
        with trio.fail_after(TIMEOUT):
            await host.wait_off()
        await wait_until(lambda: not processes_of(host.group))
        assert any(host.group in line for line in box.leftovers())

    in_box(main)
    assert boxes[0].leftovers() == []


def test_only_leftovers_of_dead_owners_are_removed(in_box: InBox) -> None:
    async def main(box: Box) -> None:
        host = await box.boot(EchoCloud())
        await wait_until_up(host)
        group = next(line for line in box.leftovers() if line.startswith("cgroup"))
        hierarchy = Path(group.removeprefix("cgroup ")).parent
        dead = hierarchy / f"cloudbox-{os.getpid()}-1-0-h11"  # as if an earlier process had our PID
        (dead / "payload").mkdir(parents=True)
        remove_leftovers_of_dead_boxes()
        assert not dead.exists()
        assert await host.run("echo", "here") == "here\n"

    in_box(main)
