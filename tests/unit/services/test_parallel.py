"""Parallel methods run in child processes, which end with a cancelled call and the machine."""

from __future__ import annotations

import functools
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

import bigmachine as bm
from bigmachine.services import _decorators
from tests.support.drivers import driver
from tests.support.processes import is_running
from tests.support.waiting import until
from tests.unit.services.services import CustomError, FailsToLoadInProcess, Parallel, square

pytestmark = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without a GIL, methods run in threads",
)


@pytest.fixture(scope="module")
def session():
    with bm.Session("local", maxprocs=2) as session:
        yield session


@pytest.fixture(scope="module")
def machine(session):
    """A machine whose processes tests share: to start one takes a tenth of a second and more."""
    [machine] = session.start(1, services={"P": Parallel(), "square": square})
    yield machine
    machine.shutdown()


@pytest.fixture
def new_machine(session):
    """A machine without processes, for tests that end them or count what is in them."""
    [machine] = session.start(1, services={"P": Parallel(), "square": square})
    yield machine
    machine.shutdown()


def announced(file):
    return until(lambda: int(file.read_text()) if file.exists() else None)


def test_calls_run_in_at_most_maxprocs_child_processes(machine):
    futures = [machine.submit("P.pid") for _ in range(20)]
    pids = {future.result() for future in futures}
    assert 1 <= len(pids) <= 2
    assert pids.isdisjoint({machine.call("P.machine_pid"), os.getpid()})


def test_method_of_a_class_that_machines_import_can_be_made_parallel(session):
    class Here(Parallel):
        pid_of_process = bm.parallel(Parallel.machine_pid)

    assert not _decorators.runs_in_processes(Parallel.machine_pid)
    [machine] = session.start(1, services={"H": Here()})
    assert machine.call("H.pid_of_process") != machine.call("H.machine_pid")
    machine.shutdown()


def test_profile_shows_what_runs_in_processes(new_machine):
    future = new_machine.submit("P.compute")
    until(lambda: "Parallel.compute" in new_machine.profile(0.1).top())
    # On a busy computer, its process may have no processor meanwhile.
    profile = until(lambda: (it := new_machine.profile(0.2)).total("cpu") > 0.05e9 and it)
    future.cancel()
    hottest = max(profile.samples, key=lambda sample: sample.values[-1])
    assert any(frame.function == "Parallel.compute" for frame in hottest.stack)
    labels = dict(hottest.labels)
    assert labels["machine"] == new_machine.name
    assert int(labels["process"]) not in {new_machine.call("P.machine_pid"), os.getpid()}


def test_two_calls_run_at_once_in_two_processes(machine, tmp_path):
    one = machine.submit("P.meet", tmp_path, "one", "two")
    two = machine.submit("P.meet", tmp_path, "two", "one")
    assert one.result() != two.result()


def test_each_process_has_own_copy_of_service_as_sent(new_machine, tmp_path):
    counts = {}
    for _ in range(3):
        pid, counts[pid] = new_machine.call("P.increment")
    assert list(counts.values()) == [3]
    assert new_machine.call("P.machine_count") == 1000


def test_process_has_folder_arguments_and_environment_of_machine(session):
    [machine] = session.start(
        1, services={"P": Parallel()}, argv=["prog", "x"], environ={"FRUIT": "fig"}
    )
    assert machine.call("P.environment") == (os.getcwd(), ["prog", "x"], "fig")
    machine.shutdown()


def test_static_method_may_be_parallel(machine):
    value, pid = machine.service(Parallel, "P").static(5)
    assert value == 5
    assert pid != machine.call("P.machine_pid")


def test_function_may_be_parallel(machine):
    value, pid = machine.call("square", 5)
    assert value == 25
    assert pid != machine.call("P.machine_pid")


def test_iterator_that_parallel_method_returns_is_refused(machine):
    with pytest.raises(bm.UsageError, match=r"P\.iterator returned a range_iterator: a parallel"):
        machine.call("P.iterator")


def test_exception_keeps_its_type_and_traceback_of_process(machine):
    with pytest.raises(CustomError, match="on purpose") as caught:
        machine.call("P.fail", "on purpose")
    cause = caught.value.__cause__
    assert isinstance(cause, bm.RemoteError)
    assert "services.py" in cause.traceback
    assert "raise CustomError(message)" in cause.traceback
    assert "_processes.py" not in cause.traceback


def test_sys_exit_in_method_does_not_end_its_process(new_machine):
    pid = new_machine.call("P.pid")
    with pytest.raises(bm.RemoteError, match="SystemExit"):
        new_machine.call("P.exit", 3)
    assert new_machine.call("P.pid") == pid


def test_cancelling_future_ends_its_process_and_next_call_gets_new_one(new_machine, tmp_path):
    future = new_machine.submit("P.compute_forever", tmp_path / "pid")
    pid = announced(tmp_path / "pid")
    assert is_running(pid)
    assert future.cancel()
    until(lambda: not is_running(pid))
    with pytest.raises(CancelledError):
        future.result()
    assert new_machine.call("P.pid") != pid


def test_waiting_call_runs_after_running_calls_are_cancelled(new_machine, tmp_path):
    for round_ in range(3):
        files = [tmp_path / f"{round_}-{number}" for number in range(2)]
        futures = [new_machine.submit("P.compute_forever", file) for file in files]
        pids = [announced(file) for file in files]
        waiting = new_machine.submit("P.pid")
        for future in futures:
            future.cancel()
        assert waiting.result() not in pids


def test_queued_call_does_not_run_after_its_cancellation(new_machine, tmp_path):
    busy = [new_machine.submit("P.compute_forever", tmp_path / name) for name in ("one", "two")]
    pids = [announced(tmp_path / name) for name in ("one", "two")]
    new_machine.submit("P.compute_forever", tmp_path / "three").cancel()
    for future in busy:
        future.cancel()
    assert new_machine.call("P.pid") not in pids
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize(
    ("method", "args", "message"),
    [
        ("P.end_process", (7,), "exited with status 7"),
        ("P.segfault", (), r"was killed by signal 11 \(SIGSEGV\)"),
    ],
)
def test_error_says_how_process_died_and_next_call_works(new_machine, method, args, message):
    with pytest.raises(bm.RemoteError, match=f"{method}: its process {message}") as caught:
        new_machine.call(method, *args)
    assert caught.value.method == method
    assert isinstance(new_machine.call("P.pid"), int)


def test_death_of_process_is_detected_despite_its_forked_child(new_machine):
    with pytest.raises(bm.RemoteError, match="SIGKILL"):
        new_machine.call("P.fork_child_and_die")


def test_process_killed_between_calls_is_replaced(new_machine):
    pid = new_machine.call("P.pid")
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([pidfd], [], [])  # all its threads have ended, and its parent can detect it
    os.close(pidfd)
    assert new_machine.call("P.pid") != pid


def test_large_arrays_travel_both_ways_and_are_writable(machine):
    array = np.arange(3 << 20)
    assert np.array_equal(machine.call("P.double", array, add=1), array * 2 + 1)


def test_large_bytes_reach_process(machine):
    assert machine.call("P.total", b"\1" * (20 << 20)) == 20 << 20


def test_error_for_unpicklable_result_names_method(machine):
    with pytest.raises(bm.UsageError, match=r"P\.lock: result \(a _thread\.lock\) can't"):
        machine.call("P.lock")


def test_stream_argument_of_parallel_method_is_refused(machine):
    with pytest.raises(bm.UsageError, match=r"P\.total is parallel.*pass a list"):
        machine.call("P.total", (n for n in range(3)))
    assert machine.call("P.total", [1, 2]) == 3


def test_failure_to_copy_service_to_process_is_raised_by_call(session, tmp_path):
    [machine] = session.start(1, services={"P": FailsToLoadInProcess(tmp_path)})
    for _ in range(2):
        with pytest.raises(FileExistsError):
            machine.call("P.pid")
    machine.shutdown()


def test_classes_of_script_reach_processes_and_their_output_reaches_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert run.stdout == "Mine('was here',) 3\n", run.stderr
    assert "printed by the process" in run.stderr


SCRIPT = """
import bigmachine as bm

class Mine(Exception): ...

class Service:
    @bm.parallel
    def add(self, a, b):
        print("printed by the process")
        return a + b
    @bm.parallel
    def fail(self):
        raise Mine("was here")

if __name__ == "__main__":
    with bm.Session("local", maxprocs=1) as session:
        [machine] = session.start(1, services={"S": Service()})
        try:
            machine.call("S.fail")
        except Mine as exc:
            print(f"Mine{exc.args}", machine.call("S.add", 1, 2))
"""


@pytest.mark.parametrize(
    ("victim", "fork"),
    [
        ("machine", False),
        ("driver", True),
        pytest.param("machine", True, marks=pytest.mark.long),
        pytest.param("driver", False, marks=pytest.mark.long),
    ],
)
def test_processes_end_when_machine_or_driver_is_killed(tmp_path, victim, fork):
    files = [tmp_path / "one", tmp_path / "two"]
    script = "import sys; sys.path[:] = %r; from tests.unit.services.test_parallel import drive; "
    with driver("-c", script % sys.path + f"drive({[*map(str, files)]!r}, {fork})") as process:
        [machine] = process.read_pids()
        pids = [announced(file) for file in files]
        os.kill({"machine": machine, "driver": process.pid}[victim], signal.SIGKILL)
        until(lambda: not any(map(is_running, [machine, *pids])))


def drive(files, fork):
    with bm.Session("local", maxprocs=2, fork=fork) as session:
        [machine] = session.start(1, services={"P": Parallel()})
        print(machine.call("P.machine_pid"), flush=True)
        for future in [machine.submit("P.compute_forever", Path(file)) for file in files]:
            future.exception()


def test_shutdown_of_machine_leaves_no_process(session, tmp_path):
    [machine] = session.start(1, services={"P": Parallel()})
    idle = machine.call("P.pid")
    machine.submit("P.compute_forever", tmp_path / "pid")
    busy = announced(tmp_path / "pid")
    machine.shutdown()
    until(lambda: not is_running(idle) and not is_running(busy))


def test_parallel_decorator_accepts_only_plain_def_methods():
    async def coroutine(self): ...

    def generator(self):
        yield

    async def both(self):
        yield

    for method, advice in (
        (coroutine, "coroutine is async, .*: make it a def"),
        (both, "both is async"),
        (generator, "generator is a generator: return a list"),
        (functools.partial(print), r"partial\(.* wrap it in a def"),
    ):
        with pytest.raises(
            bm.UsageError, match=rf"bm\.parallel is for plain def methods.*{advice}"
        ):
            bm.parallel(method)


def test_parallel_methods_run_in_threads_if_there_is_no_gil(monkeypatch):
    assert _decorators.runs_in_processes(Parallel.pid)
    assert not _decorators.runs_in_processes(Parallel.machine_pid)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not _decorators.runs_in_processes(Parallel.pid)
