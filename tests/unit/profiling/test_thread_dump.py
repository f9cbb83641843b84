"""Thread dumps: what threads and tasks of this process do, and how that is told."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import pytest
import trio
import trio.testing

import bigmachine as bm
from bigmachine.profiling import Frame, ThreadDump, ThreadStack
from bigmachine.profiling._threads import dump_threads

WORK = Frame("Svc.work", "/there/svc.py", 7, 5)
OURS = Frame("Call._run", "/site/bigmachine/_call.py", 3, 1)


def stack(machine, name, *, kind="thread", **fields):
    found = ThreadStack(kind, name, (WORK, OURS), ("total += 1", ""), (True, False), **fields)
    return replace(found, machine=machine)


def test_equal_stacks_are_shown_once_and_what_runs_comes_first():
    dump = ThreadDump(
        (
            stack("m0", "waits", method="Svc.work"),
            stack("m0", "a", is_running=True, method="Svc.work"),
            stack("m1", "a", is_running=True, method="Svc.work"),
        ),
        taken_at=0,
    )
    assert str(dump) == (
        "3 threads, 0 tasks on 2 machines: m0 m1\n"
        "\n"
        "2 threads run Svc.work: m0 a, m1 a\n"
        '  File "/there/svc.py", line 7, in Svc.work\n'
        "    total += 1\n"
        "\n"
        "1 thread waits in Svc.work: m0 waits\n"
        '  File "/there/svc.py", line 7, in Svc.work\n'
        "    total += 1"
    )
    assert str(dump.filter(machine="m1")).startswith("1 thread, 0 tasks on 1 machine: m1\n")


def test_stacks_that_differ_only_in_hidden_frames_are_shown_once():
    other = replace(stack("m1", "b"), frames=(WORK, OURS._replace(line=9)))
    dump = ThreadDump((stack("m0", "a"), other), taken_at=0)
    assert "2 threads wait: m0 a, m1 b" in str(dump)
    assert "1 thread waits: m1 b" in dump.text(full=True)


def test_frames_of_bigmachine_are_shown_only_on_request():
    own = replace(stack("m0", "loop", kind="task"), is_users=(False, False))
    dump = ThreadDump((stack("m0", "a"), own), taken_at=0)
    assert "_call.py" not in str(dump)
    assert str(dump).endswith("0 threads, 1 task run no code of yours; text(full=True) shows them")
    assert dump.text(full=True).count("_call.py") == 2
    assert "no code of yours" not in dump.text(full=True)


def test_method_that_runs_in_another_process_is_named():
    waiting = replace(stack("m0", "a", method="Svc.work"), is_users=(False, False))
    asked = replace(waiting, method="Supervisor.tail")
    assert str(ThreadDump((waiting, asked), 0)).splitlines()[2:] == [
        "1 thread waits in Svc.work: m0 a",
        "",
        "1 thread, 0 tasks run no code of yours; text(full=True) shows them",
    ]


def test_dump_names_what_is_not_in_it_and_is_harmless_on_a_terminal():
    dump = ThreadDump((stack("m0", "\x1b[2J\nx"),), 0, failures={"m1": "\x1b[31mit stopped"})
    assert "\x1b" not in str(dump)
    assert str(dump).splitlines()[-1].endswith("it stopped")
    assert str(dump).splitlines()[-1].startswith("not in it: m1: ")


def test_source_that_the_machine_lacks_is_read_here(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def f():\n    return here\n")
    there = replace(stack("m0", "a"), frames=(Frame("f", str(file), 2, 1), OURS), source=("", ""))
    assert "\n    return here" in str(ThreadDump((there,), 0))


def test_dump_counts_threads_as_a_profile():
    dump = ThreadDump((stack("m0", "a", method="Svc.work"), stack("m1", "b")), taken_at=0)
    profile = dump.to_profile()
    assert profile.filter(machine="m0", method="Svc.work").total() == 1
    assert profile.total() == 2
    assert profile.to_pprof()


def test_calls_of_itself_are_shown_a_few_times():
    deep = replace(
        stack("m0", "a"), frames=(WORK,) * 500, source=("down()",) * 500, is_users=(True,) * 500
    )
    shown = str(ThreadDump((deep,), 0))
    assert shown.count("in Svc.work") == 3
    assert shown.endswith("\n  [Previous line repeated 497 more times]")


def test_merging_nothing_is_refused():
    with pytest.raises(bm.UsageError, match="no thread dump"):
        ThreadDump.merge([])


def test_threads_that_run_and_wait_and_tasks_are_told_apart():
    is_over = threading.Event()

    def compute():
        while not is_over.is_set():
            sum(range(100))

    async def sleeper():
        await trio.sleep_forever()

    async def main():
        threads = [
            threading.Thread(target=compute, name="computes"),
            threading.Thread(target=is_over.wait, name="waits"),
        ]
        for thread in threads:
            thread.start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sleeper, name="sleeps")
                await trio.testing.wait_all_tasks_blocked()
                dump = {}

                async def look():
                    found = await dump_threads(lambda frame: None)
                    dump.update({stack.name: stack for stack in found.stacks})
                    return dump["computes"].is_running or sys.platform != "linux"

                with trio.fail_after(60):
                    while not await look():  # another process may have the processor
                        pass
                nursery.cancel_scope.cancel()
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        return dump

    dump = trio.run(main)
    assert not dump["waits"].is_running
    assert dump["computes"].kind == dump["waits"].kind == "thread"
    assert dump["sleeps"].kind == "task"
    assert dump["sleeps"].frames[-1].function.endswith("sleeper")
    assert dump["sleeps"].source[-1] == "await trio.sleep_forever()"
    assert any(f.function.endswith("compute") for f in dump["computes"].frames)
    assert not any(name.endswith(".main") for name in dump)  # the task that has asked
