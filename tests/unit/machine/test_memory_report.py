"""A machine that has nearly no memory left is asked what is in it, but not again and again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

import bigmachine as bm
from bigmachine.machine.supervisor import _memory_report
from bigmachine.testing import InProcessSystem
from bigmachine.testing.in_process._system import InProcessOptions
from bigmachine.worker import _supervisor
from tests.support.clocks import jumping_clock
from tests.support.services import Echo


def test_report_is_taken_once_a_minute_and_old_ones_are_deleted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_supervisor, "UNHEALTHY_MEMORY", 0.0)  # all that there is, is too much
    monkeypatch.setattr(_supervisor, "_HEAP_BYTES", 1 << 60)  # so a heap is not taken
    monkeypatch.setattr(_memory_report, "_KEPT_REPORTS", 2)
    folder = tmp_path / "bigmachine" / "memory"
    for day in range(10, 20):
        (folder / f"202601{day}-120000-m0.old.bigmachine").mkdir(parents=True)

    async def test() -> None:
        system = InProcessSystem(InProcessOptions(keepalive_period=10, keepalive_timeout=30))
        async with bm.AsyncSession(system) as session:
            await session.start(2, services={"Echo": Echo()})
            await trio.sleep(125)  # replies come after 10, 20, 30 s, …

    trio.run(test, clock=jumping_clock())
    paths = [Path(m.rpartition(": ")[2]) for m in caplog.messages if "what is in its memory" in m]
    assert len(paths) == 4  # after 10 s and 70 s, of each
    assert {*folder.iterdir()} == {*paths[-2:]}
    kept = paths[-1]
    assert (kept / "heap.txt").read_text().startswith("There was too little memory left")
    assert not (kept / "heap.pb.gz").exists()
    assert json.loads((kept / "variables.json").read_text())


def test_report_goes_to_a_temporary_folder_if_the_cache_can_not_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(_memory_report.tempfile, "tempdir", str(tmp_path))
    folder = _memory_report._reports_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
