"""How far a start is, from a session's events."""

from __future__ import annotations

import re

import pytest

import bigmachine as bm
from bigmachine.progress import _plain
from bigmachine.progress._start import Start


def start(requested: int, *, prices: tuple[float | None, ...] = (), boots: bool = True) -> Start:
    """Return a start whose machines are launched, if there are prices: one for each."""
    start = Start(requested, system="ec2", boots=boots)
    if prices:
        start.requested_now()
        start.launched(
            bm.Instance(f"m{i}.ada.bigmachine", "10.0.0.1:1", cost_per_hour=price)
            for i, price in enumerate(prices)
        )
    return start


def progress(start: Start, machine: str, phase: str, done: int = 0, total: int = 0) -> None:
    start.changed(bm.BootProgress(machine, phase, done, total, 1.0))


def change(start: Start, machine: str, state: bm.State, error: str = "") -> None:
    start.changed(bm.MachineChanged(machine, "addr", state, bm.BootError(error) if error else None))


def state_text(start: Start) -> str:
    return re.sub(r"\d+ s\b", "N s", _plain.state_text(start))


def result_text(start: Start) -> str:
    return re.sub(r"\d+ s\b", "N s", _plain.result_text(start))


def counts(start: Start) -> dict[str, int]:
    return {row.phase: row.machines for row in start.rows()}


def test_machines_are_counted_by_phase_from_request_to_running():
    it = start(5)
    assert counts(it) == {"preparing": 5}
    it.requested_now()
    assert counts(it) == {"provisioning": 5}
    it.launched([bm.Instance(f"m{i}.ada.bigmachine", "10.0.0.1:1") for i in range(5)])
    assert counts(it) == {"booting": 5}
    for machine, phase in {"m0": "upload", "m1": "build", "m2": "start", "m3": "verify"}.items():
        change(it, machine, bm.State.STARTING)
        progress(it, machine, phase)
    assert counts(it) == {"booting": 2, "uploading": 1, "building": 1, "starting": 1}
    change(it, "m2", bm.State.RUNNING)
    change(it, "m3", bm.State.STOPPED, "m3 did not boot;\tit failed\nconsole")
    assert counts(it) == {"booting": 1, "uploading": 1, "building": 1, "running": 1, "failed": 1}
    assert it.reason == "m3 did not boot; it failed"
    assert state_text(it).endswith("1 running, 1 failed; m3 did not boot; it failed")


def test_machines_that_boot_from_nothing_are_starting_at_once():
    assert counts(start(2, prices=(None, None), boots=False)) == {"starting": 2}


def test_uploads_and_builds_of_all_machines_are_added_up():
    it = start(3, prices=(None, None, None))
    progress(it, "m0", "upload", 1 << 20, 4 << 20)
    progress(it, "m1", "upload", 2 << 20, 4 << 20)
    progress(it, "m2", "build", 7, 90)
    assert [(row.done, row.total, row.text) for row in it.rows()] == [
        (3 << 20, 8 << 20, "3.0 MiB of 8.0 MiB"),
        (7, 90, "7 of 90 packages"),
    ]


def test_machines_that_system_did_not_launch_have_failed():
    it = start(5, prices=(None, None))
    assert counts(it) == {"booting": 2, "failed": 3}
    assert it.rows()[-1].text == "3 not launched"


@pytest.mark.parametrize(
    ("prices", "text"),
    [
        ((0.17, 0.17), "$0.34 an hour"),
        ((0.17, None), "at least $0.17 an hour"),
        ((None, None), ""),
        ((0.0, 0.0), ""),
    ],
)
def test_cost_an_hour_is_that_of_machines_that_have_not_failed(prices, text):
    it = start(3, prices=(*prices, 100.0))
    change(it, "m2", bm.State.STOPPED, "it failed")
    assert it.cost_text() == text


def test_state_and_result_are_one_line_each():
    it = start(2, prices=(0.17, 0.17))
    progress(it, "m0", "upload", 1 << 20, 4 << 20)
    assert state_text(it) == (
        "starting 2 machines on ec2, N s, $0.34 an hour: "
        "1 booting, 1 uploading (1.0 MiB of 4.0 MiB)"
    )
    change(it, "m0", bm.State.RUNNING)
    assert not result_text(it)  # m1 is still booting, as after wait=False
    change(it, "m1", bm.State.RUNNING)
    it.end(has_failed=False)
    assert result_text(it) == "2 machines are running on ec2 after N s, $0.34 an hour"


def test_result_tells_how_many_of_all_requested_run_and_nothing_after_an_error():
    it = start(2, prices=(0.17, 0.17))
    change(it, "m0", bm.State.STOPPED, "it failed")
    change(it, "m1", bm.State.RUNNING)
    assert result_text(it) == "1 of 2 machines are running on ec2 after N s, $0.17 an hour"
    it.end(has_failed=True)
    assert not result_text(it)
