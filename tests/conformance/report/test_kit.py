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

TIMEOUT = 3.0  # on a busy computer, what does not hang may take a second


def suite(body: str, *, name: str = "Own") -> str:
    return f"""
class {name}(InProcessSystem):
{body}

class Test{name}(Suite):
    timeout = {TIMEOUT}

    @pytest.fixture
    def system(self):
        return {name}()
"""


HANGS = {
    "Waits": "await trio.sleep_forever()",
    "Ignores": "with trio.CancelScope(shield=True): await trio.sleep_forever()",
    "Blocks": "import time; time.sleep(3600)",
}


def suites_that_hang() -> str:
    """Return suites in which `stop` hangs, and one in which a cancelled `console` does."""
    sources = [
        suite(f"    async def stop(self, instance):\n        {hang}", name=name)
        for name, hang in HANGS.items()
    ]
    console = """
    async def console(self, instance):
        try:
            return await super().console(instance)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
"""
    return "".join(sources) + suite(console, name="GivenUp")


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory):
    """The results of those suites, by suite and clause: from one process, in which loops hang."""
    folder = tmp_path_factory.mktemp("hanging")
    chosen = ("HOOKS-3", "START-", "STOP-", "CANCEL-6", "CANCEL-7", "CANCEL-8", "CONSOLE-2")
    run = run_suite(folder, suites_that_hang(), "-k", " or ".join(chosen), is_alone=True)
    return run, {
        told["suite"].removeprefix("Test"): {
            test["clause"]: (test["outcome"], test["reason"]) for test in told["tests"]
        }
        for told in run.report["suites"]
    }


@pytest.mark.long
@pytest.mark.parametrize("name", HANGS)
def test_hook_that_hangs_fails_one_clause_and_blocks_the_others(hanging, name):
    run, suites = hanging
    results = suites[name]
    failed = {clause for clause, (outcome, _) in results.items() if outcome == "failed"}
    assert failed == {"START-1"}
    assert results["START-1"][1].startswith(
        f"a hook has blocked trio's loop for {TIMEOUT:g} s"
        if name == "Blocks"
        else "`stop` of m0 has not"
    )
    assert results["HOOKS-3"][0] == "passed"
    blocked = {reason for outcome, reason in results.values() if outcome == "skipped"}
    blocked = {reason for reason in blocked if "not declared" not in reason}
    assert blocked == {f"blocked by START-1: {results['START-1'][1]}"}
    assert run.output.count("blocked by START-1") == len(HANGS)


@pytest.mark.long
def test_test_that_was_given_up_does_not_disturb_the_next_ones(hanging):
    _, suites = hanging
    results = suites["GivenUp"]
    assert results["CANCEL-7"][0] == "failed"
    assert {results[c][0] for c in ("CANCEL-6", "CANCEL-8", "CONSOLE-2", "STOP-1")} == {"passed"}


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
