"""Odd states of a driver do no harm: its signals, folders, descriptors, flags and variables."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import bigmachine as bm
from bigmachine_local import LocalSystem
from tests.integration.local.driver_states import FOREIGN
from tests.integration.local.services import Basic
from tests.support.paths import ROOT

FLAGS = ("-P", "-O", "-X", "dev", "-X", "utf8", "-W", "error::UserWarning")
FORK = ["null", pytest.param("false", marks=pytest.mark.long)]
BEGIN = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom {Basic.__module__.rpartition('.')[0]}"
BEGIN += ".driver_states import *\n"


def run(program: str, *, cwd: Path, fork: str = "null", flags: tuple[str, ...] = ()) -> Any:
    """Run a driver after ``program``; return its report, or None if it made none."""
    report = cwd / f"report-{fork}"
    environ = {**os.environ, "REPORT": str(report), "": "no name"}
    command = [sys.executable, *flags, "-c", f"{BEGIN}{program}\nmain({fork!r})"]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text())


@pytest.mark.parametrize("fork", FORK)
def test_machines_are_as_if_their_driver_were_in_no_odd_state(fork: str, tmp_path: Path) -> None:
    for name in FOREIGN:
        (tmp_path / f"{name}.py").write_text(f"NAME = 'foreign'\n__file__ = 'foreign/{name}'")
    program = """
break_signals()
close_descriptors(0, 1, 2)
sys.argv += ["x" * 200_000] * 3 + ["\\udcff"]
sys.path += ["/nowhere/" + "y" * 200_000, "/\\udcff"]
"""
    driver, *reports = run(program, cwd=tmp_path, fork=fork, flags=FLAGS)
    assert driver["log"] == []
    # Known though the driver ignores SIGCHLD: the zygote is the machines' parent.
    assert driver["error"] == "m0 stopped: killed by signal 9 (SIGKILL)"
    locale, _ = [report.pop("locale") for report in reports]
    assert fork == "false" or locale is None
    for report in reports:
        path = report.pop("path")
        assert [one for one in path if one in driver["path"]] == [*dict.fromkeys(driver["path"])]
        assert "/opt/extra" in path
        assert report == {
            "flags": [1, True, 1, True],
            "argv": driver["argv"],
            "folder": str(tmp_path),
            "ignored": report["ignored"] and [2],  # of a parallel process: it ends with its machine
            "blocked": 0,
            "collects": True,
            "later": ["yes", "yes", None],
            "asked": "c3a9",
            "zone": ["JST", "JST-9"],
            "foreign": [],
            "terminal": True,
        }
    assert reports[0]["ignored"] == []


@pytest.mark.parametrize(
    "program",
    [
        "import tempfile; os.chdir(tempfile.mkdtemp()); os.rmdir(os.getcwd())",
        "sys.path.insert(0, ''); os.chdir('/')",
        "os.umask(0o777)",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
        "os.setpgid(0, 0)",
        "sys.stdin = sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None",
        "signal.signal(signal.SIGCHLD, wait_for_any_child)",
        # Only the processes that it starts have ASCII for their encoding.
        "os.environ |= {'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0', 'ACCENT': '\\xe9'}",
        *(
            f"close_descriptors{numbers}"
            for count in (1, 2)
            for numbers in itertools.combinations(range(3), count)
        ),
    ],
)
@pytest.mark.parametrize("fork", ["null", "false"])
@pytest.mark.long
def test_machines_start_whatever_state_their_driver_is_in(
    program: str, fork: str, tmp_path: Path
) -> None:
    if "close_descriptors" in program:
        program = program.replace(",)", ")")
    # Without -P, Python before 3.13.3 imports little in a deleted folder: CPython's issue 130932.
    _, *reports = run(program, cwd=tmp_path, fork=fork, flags=("-P",))
    assert [report["asked"] for report in reports] == ["c3a9"] * 2  # in UTF-8


@pytest.mark.long
def test_system_without_zygote_starts_machines_in_odd_states(tmp_path: Path) -> None:
    program = (
        "break_signals(); import bigmachine_local._system as s; s._can_use_zygote = lambda: False\n"
        "sys.argv += ['x' * 200_000]"
    )
    driver, *reports = run(program, cwd=tmp_path, fork="false", flags=FLAGS)
    assert [report["argv"] for report in reports] == [driver["argv"]] * 2
    assert reports[0]["ignored"] == []


def test_variables_that_cannot_be_set_are_usage_errors_before_any_start() -> None:
    with bm.Session("local") as session:
        for environ in ({"A": 1}, {"A=B": "c"}, {"": "c"}, {"A": "\0"}, {5: "a"}):
            with pytest.raises(bm.UsageError, match="environ"):
                session.start(1, services={"Basic": Basic()}, environ=environ)  # type: ignore[arg-type]
        for argv in ("prog --flag", ["prog", 5]):
            with pytest.raises(bm.UsageError, match="argv"):
                session.start(1, services={"Basic": Basic()}, argv=argv)  # type: ignore[list-item]
        assert session.machines == []


@pytest.mark.long
def test_machine_that_cannot_be_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with bm.Session("local", fork=False) as session:
        monkeypatch.setenv("TOO_LONG_FOR_THE_KERNEL", "x" * 200_000)
        # The second one has a configuration that no pipe holds, and that nobody reads.
        for argv in (["short"], ["x" * 200_000]):
            with pytest.raises(bm.StartError, match="can't run .*: .*Argument list too long"):
                session.start(1, services={"Basic": Basic()}, argv=argv)
        monkeypatch.undo()
        assert session.start(1, services={"Basic": Basic()})[0].call("Basic.echo", 1) == 1


def test_silent_machine_is_stopped_after_20_seconds_by_default() -> None:
    assert LocalSystem().keepalive().timeout == 20.0


@pytest.mark.long
@pytest.mark.parametrize("fork", [None, False])
def test_suspended_machine_is_stopped_after_keepalive_timeout(fork: bool | None) -> None:
    with bm.Session("local", fork=fork, keepalive_timeout=2.0) as session:
        [machine] = session.start(1, services={"Basic": Basic()})
        pid = machine.call("Basic.pid")
        os.kill(pid, 19)  # SIGSTOP
        with pytest.raises(bm.MachineStopped, match=r"silent for \d+ s") as caught:
            machine.call("Basic.echo", 1)
        assert caught.value.reason is bm.StopReason.KEEPALIVE
        session.shutdown()
        assert not Path(f"/proc/{pid}").exists()


class Holder:
    def hold(self, exponent: int) -> int:
        """Hold the interpreter: this is one call into native code."""
        return (3**exponent).bit_length()


@pytest.mark.long
def test_machine_whose_interpreter_is_held_by_native_code_is_kept() -> None:
    trial = 2_000_000
    began = time.monotonic()
    Holder().hold(trial)
    seconds = time.monotonic() - began
    # Large numbers are multiplied in n**1.6 steps: this takes twice the timeout of keepalives. On a
    # computer that gets busy meanwhile it takes longer; only six times the timeout is too long.
    exponent = int(trial * (6 / seconds) ** (1 / 1.6))
    with bm.Session("local", keepalive_timeout=3.0) as session:
        [machine] = session.start(1, services={"Holder": Holder()})
        assert machine.call("Holder.hold", exponent) > exponent
        assert machine.state is bm.State.RUNNING
