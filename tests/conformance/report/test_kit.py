"""The kit itself: a backend that hangs or exits ends the run early, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bigmachine.testing.conformance._processes import MARK
from tests.conformance.report.running import run_suite
from tests.support.processes import is_running
from tests.support.waiting import until


def suite(body: str) -> str:
    return f"""
class Own(InProcessSystem):
{body}

class TestOwn(Suite):
    timeout = 1.0

    @pytest.fixture
    def system(self):
        return Own()
"""


STOP = "    async def stop(self, instance):\n"
HANGS = {
    "waits": STOP + "        await trio.sleep_forever()",
    "waits, and cannot be cancelled": STOP
    + """
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
""",
    "blocks the loop": STOP
    + """
        import time
        time.sleep(3600)
""",
}


@pytest.mark.parametrize("hang", HANGS)
def test_hook_that_hangs_fails_one_clause_and_blocks_the_others(tmp_path, hang):
    run = run_suite(tmp_path, suite(HANGS[hang]), "-k", "HOOKS-3 or START- or STOP-")
    failed = {clause for clause, (outcome, _) in run.results.items() if outcome == "failed"}
    assert failed == {"START-1"}
    assert run.results["START-1"][1].startswith(
        "a hook has blocked trio's loop for 1 s" if "blocks" in hang else "`stop` of m0 has not"
    )
    assert run.results["HOOKS-3"][0] == "passed"
    blocked = {reason for outcome, reason in run.results.values() if outcome == "skipped"}
    assert blocked == {f"blocked by START-1: {run.results['START-1'][1]}"}
    assert run.output.count("blocked by START-1") == 1


def test_hook_that_exits_blocks_the_other_clauses(tmp_path):
    body = """
    async def start(self, count, request):
        raise SystemExit("no credentials")
"""
    run = run_suite(tmp_path, suite(body), "-k", "START-1 or STOP-3")
    assert run.results["START-1"] == ("failed", "a hook raised SystemExit('no credentials')")
    assert run.results["STOP-3"][1].startswith("blocked by START-1: a hook raised SystemExit")


def test_fault_that_a_failed_test_leaves_is_told_once(tmp_path):
    body = """
    is_broken = False

    async def keepalive_failed(self, instance):
        type(self).is_broken = True
        return bm.Termination(bm.StopReason.EXITED, "it does not answer")

    async def start(self, count, request):
        if self.is_broken:
            raise bm.StartError("the account is locked")
        return await super().start(count, request)
"""
    run = run_suite(tmp_path, suite(body), "-k", "KEEPALIVE-3 or STOP- or SHUTDOWN-")
    failed = {clause for clause, (outcome, _) in run.results.items() if outcome == "failed"}
    assert failed == {"KEEPALIVE-3"}
    assert run.results["STOP-1"] == (
        "skipped",
        "blocked by KEEPALIVE-3, after which no machine can be started: "
        "StartError: the account is locked",
    )


def test_test_that_was_given_up_does_not_disturb_the_next_ones(tmp_path):
    body = """
    async def console(self, instance):
        try:
            return await super().console(instance)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
"""
    chosen = "CANCEL-7 or CANCEL-8 or CANCEL-6 or CONSOLE-2 or INSTANCES-1"
    run = run_suite(tmp_path, suite(body), "-k", chosen)
    ran = {c: outcome for c, (outcome, _) in run.results.items() if outcome != "not run"}
    assert ran.pop("CANCEL-7") == "failed"
    assert set(ran.values()) == {"passed"}


FROZEN = """
import os, signal, sys, time
from pathlib import Path
import subprocess
from bigmachine.testing.conformance._guardian import guardian

guard = guardian()
guard.watch("frozen", grace=600)
Path(guard.folder, "probe").touch()
command = [sys.executable, "-ISc", "import time; print(flush=True); time.sleep(600)"]
child = subprocess.Popen(
    command, env={**os.environ, sys.argv[1]: "frozen"}, stdout=subprocess.PIPE
)
child.stdout.readline()
child.send_signal(signal.SIGSTOP)
print(child.pid, guard.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_of_a_kit_that_is_killed_while_a_driver_is_frozen():
    done = subprocess.run(
        [sys.executable, "-c", FROZEN, MARK], stdout=subprocess.PIPE, text=True, check=False
    )
    pid, folder = done.stdout.split()
    try:
        until(lambda: not is_running(int(pid)) and not Path(folder).exists())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
