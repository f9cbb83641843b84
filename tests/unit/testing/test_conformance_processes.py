"""Which processes count as left behind, for the conformance kit."""

from __future__ import annotations

import signal

import pytest

from bigmachine.testing.conformance import _processes
from bigmachine.testing.conformance._processes import HostProcess

STAT = "7 (sh (a) b) S 1 7 7 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0"
STATUS = "Name:\tsh\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n"
KILLED, TERMINATED = 1 << (signal.SIGKILL - 1), 1 << (signal.SIGTERM - 1)


@pytest.mark.parametrize(
    ("flags", "own", "shared", "is_dying"),
    [
        (0x400000, 0, 0, False),
        (0x400000, 0, TERMINATED, False),
        (0x400000, 0, KILLED, True),
        (0x400000, KILLED, 0, True),
        (0x400004, 0, 0, True),
    ],
)
def test_process_that_is_killed_but_not_gone_yet_is_dying(
    tmp_path, monkeypatch, flags, own, shared, is_dying
):
    """No process stays in this state for long enough to look at it, so the kernel's text does."""
    monkeypatch.setattr(_processes, "_PROC", tmp_path)
    process = HostProcess(7, 4711, "sh")
    assert process.is_dying  # there is none
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text(STAT.format(flags=flags))
    (tmp_path / "7/status").write_text(STATUS.format(own=own, shared=shared, blocked=KILLED))
    assert process.is_dying == is_dying
    assert process.is_alive
