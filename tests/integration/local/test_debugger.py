"""pdb on machines: what a person at the driver's terminal sees, and what the calls do."""

from __future__ import annotations

import bdb
import contextlib
import linecache
import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("termios")

import pexpect
import pyte

import bigmachine as bm
from tests.support.terminals import shop_on_terminal
from tests.support.typist import typist
from tests.support.waiting import until

PROMPT = "(Pdb m0) "


class Shop:
    def total(self, prices):
        total = 0
        breakpoint()
        for price in prices:
            total += price
        return total

    def pid(self):
        return os.getpid()

    def divide(self, n):
        share = self._share(n)
        return share * 2

    def _share(self, n):
        return 1 / n

    def count(self, n):
        for i in range(n):
            breakpoint()
            yield i

    def nested(self):
        breakpoint()
        self._inner()
        return "nested"

    def _inner(self):
        import pdb

        pdb.set_trace()
        return "inner"

    async def wait(self):
        breakpoint()
        return "went on"

    @bm.parallel
    def compute(self):
        import pdb

        pdb.set_trace(header="here")
        return "computed"

    def fork(self):
        if not (child := os.fork()):
            breakpoint()
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


CELL = """
class Cell:
    def run(self):
        breakpoint()
        return "the cell's line"
"""


def cell(file: str) -> object:
    """Return a service whose class, as in a notebook, has its source in memory alone."""
    linecache.cache[file] = (len(CELL), None, CELL.splitlines(keepends=True), file)
    namespace = {"__name__": "a notebook"}
    exec(compile(CELL, file, "exec"), namespace)
    return namespace["Cell"]()


@pytest.fixture(scope="module")
def secret(tmp_path_factory) -> str:
    """Return a file of the driver that the machine, which shares its disk, can't read either."""
    file = tmp_path_factory.mktemp("driver") / "secret.py"
    file.touch()
    return str(file)


@pytest.fixture(scope="module")
def machines(secret) -> Iterator[list[bm.Machine]]:
    services = {"Shop": Shop(), "Cell": cell("<cell of a shop>"), "Secret": cell(secret)}
    with bm.Session("local") as session:
        yield session.start(5, services=services)


@pytest.fixture
def machine(machines) -> bm.Machine:
    return machines[0]


@contextlib.contextmanager
def environment(machine: bm.Machine, name: str, value: str) -> Iterator[None]:
    """Set a variable on the machine during the block."""
    machine.call("Supervisor.environment", {name: value})
    try:
        yield
    finally:
        machine.call("Supervisor.environment", {name: ""})


def post_mortem(error: BaseException) -> threading.Thread:
    """Debug a failed call in a thread: this one types."""
    thread = threading.Thread(target=bm.post_mortem, args=(error,))
    thread.start()
    return thread


def test_method_stops_at_breakpoint_while_its_machine_answers(machine):
    with typist() as person:
        call = machine.with_options(timeout=60).submit("Shop.total", [2, 3])
        person.answer(PROMPT, "p prices, total")
        began = machine._calls.time_limits.time()
        assert person.answer(PROMPT, "total = 100") == "([2, 3], 0)\n"
        assert machine.load().one >= 0
        assert machine._calls.time_limits.time() == began  # the call's timeout stands still
        while "-> total += price" not in person.answer(PROMPT, "n"):
            pass
        person.answer(PROMPT, "w")
        stack = person.answer(PROMPT, "c")
        assert stack.count("\n> ") + stack.startswith("> ") == 1
        assert stack.count("()\n") == 1  # no frames of bigmachine, or of threads
        assert call.result() == 105


def test_ctrl_c_at_prompt_gives_new_prompt_and_cancels_nothing(machine):
    with typist() as person:
        call = machine.submit("Shop.total", [1])
        person.read_to(PROMPT)
        person.type("half a line\x03")
        person.read_to("--KeyboardInterrupt--")
        person.answer(PROMPT, "c")
        assert call.result() == 1


def test_input_of_another_shell_may_raise_keyboard_interrupt(machine, monkeypatch, capsys):
    answers: list[BaseException | str] = [KeyboardInterrupt(), "c"]

    def ask(prompt: str) -> str:
        assert prompt == PROMPT
        if isinstance(answer := answers.pop(0), BaseException):
            raise answer
        return answer

    monkeypatch.setattr("builtins.input", ask)
    assert machine.call("Shop.total", [1]) == 1
    assert "--KeyboardInterrupt--" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["q\n", "\x04"], ids=["q", "end of input"])
def test_leaving_debugger_fails_call_and_says_so(machine, line):
    with typist() as person:
        call = machine.submit("Shop.total", [1])
        person.read_to(PROMPT)
        person.type(line)
        with pytest.raises(bdb.BdbQuit, match="debugger was left by q"):
            call.result()
        assert machine.call("Shop.pid") > 0


def test_program_may_close_its_output_while_the_last_lines_of_a_method_come(machine):
    for _ in range(2):  # the second finds another terminal
        with typist() as person:
            call = machine.submit("Shop.total", [1])
            person.read_to(PROMPT)
            sys.stdout.close()
            person.type("p 1 ;; c\n")
            assert call.result() == 1


def test_stopped_methods_of_several_machines_wait_for_their_turn(machines):
    with typist() as person:
        calls = [machines[0].submit("Shop.total", [1])]
        person.read_to(PROMPT)
        calls += [other.submit("Shop.total", [1]) for other in machines[1:3]]
        person.type("p 1\n")
        while "2 other methods wait" not in person.answer(PROMPT, "p 1"):
            pass
        person.answer(PROMPT, "c")
        assert "1 other method waits" in person.answer("(Pdb ", "c")
        assert "wait" not in person.answer("(Pdb ", "c")
        assert [call.result() for call in calls] == [1, 1, 1]


def test_stepping_ends_with_method_and_next_call_runs_freely(machine):
    with typist() as person:
        call = machine.submit("Shop.total", [])
        while "--Return--" not in person.answer(PROMPT, "n"):
            pass
        assert call.result() == 0
        assert machine.call("Shop.divide", 1) == 2


def test_generator_stops_at_each_item(machine):
    with typist() as person:
        items: list[int] = []
        reader = threading.Thread(target=lambda: items.extend(machine.stream("Shop.count", 2)))
        reader.start()
        assert "count()" in person.answer(PROMPT, "c")
        assert "count()" in person.answer(PROMPT, "p i")
        assert person.answer(PROMPT, "c") == "1\n"
        reader.join()
        assert items == [0, 1]


def test_set_trace_of_pdb_within_a_step_stops_in_the_same_debugger(machine):
    with typist() as person:
        call = machine.submit("Shop.nested")
        assert ")nested()" in person.answer(PROMPT, "self._inner()")
        assert person.answer(PROMPT, "n") == "'inner'\n"  # what is typed does not stop
        while ")_inner()" not in person.answer(PROMPT, "n"):
            pass
        person.answer(PROMPT, "c")
        assert call.result() == "nested"


def test_source_of_notebook_cell_is_shown_and_no_other_file_is_sent(machine):
    with typist() as person:
        for service, is_shown in (("Cell", True), ("Secret", False)):
            call = machine.submit(f"{service}.run")
            assert ("\n-> " in person.answer(PROMPT, "c")) == is_shown
            assert call.result() == "the cell's line"


def test_machine_that_ends_at_prompt_gives_the_terminal_back(machines):
    machine = machines[3]
    with environment(machine, "BIGMACHINE_POST_MORTEM", "1"), pytest.raises(TypeError) as failed:
        machine.call("Shop.divide", "x")
    pid = machine.call("Shop.pid")
    with typist() as person:
        call = machine.submit("Shop.total", [1])
        person.read_to("(Pdb m3) ")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(bm.MachineStopped):
            call.result()
        person.read_to("press Enter")
        person.type("\n")
        call = machines[0].submit("Shop.total", [1])
        person.answer(PROMPT, "c")
        assert call.result() == 1
    with pytest.raises(bm.UsageError, match="has ended"):
        bm.post_mortem(failed.value)


def test_breakpoint_is_passed_over_where_nobody_can_debug(machine, caplog):
    with typist():
        assert machine.call("Shop.wait") == "went on"
        assert machine.call("Shop.compute") == "computed"
        assert machine.call("Shop.fork") == 7
    for advice in (
        "make the method a def",
        "remove @bm.parallel",
        "does not reach processes that a method starts",
    ):
        until(lambda advice=advice: advice in caplog.text)


def test_breakpoint_without_terminal_is_passed_over_with_a_warning(machines, caplog):
    with open(os.devnull) as null, pytest.MonkeyPatch.context() as patch:
        patch.delenv("CI", raising=False)
        patch.setattr("sys.stdin", null)
        assert [machines[4].call("Shop.total", [1]) for _ in range(3)] == [1, 1, 1]
    [warning] = [record.getMessage() for record in caplog.records if "breakpoint" in record.msg]
    assert "standard input is not a terminal" in warning
    assert "Shop.total" in warning


def test_pythonbreakpoint_0_turns_breakpoints_off(machine):
    with typist(), environment(machine, "PYTHONBREAKPOINT", "0"):
        assert machine.call("Shop.total", [1]) == 1


def test_post_mortem_shows_frames_of_failed_call(machine):
    with typist() as person, environment(machine, "BIGMACHINE_POST_MORTEM", "1"):
        with pytest.raises(ZeroDivisionError) as first:
            machine.call("Shop.divide", 0)
        with pytest.raises(bm.NotSupportedError):
            machine.call("Supervisor.tail", 0)  # none of its frames are the user's: not kept
        debugging = post_mortem(first.value)
        begin = person.answer(PROMPT, "up")
        assert f"m0: Shop.divide raised ZeroDivisionError on {machine.name}" in begin
        assert "-> return 1 / n" in begin
        assert "-> share = self._share(n)" in person.answer(PROMPT, "p n")
        assert person.answer(PROMPT, "q") == "0\n"
        debugging.join()

        with pytest.raises(TypeError):
            machine.call("Shop.divide", "x")
        with pytest.raises(bm.UsageError, match="its last 1; set BIGMACHINE_POST_MORTEM to more"):
            bm.post_mortem(first.value)


def test_post_mortem_of_frames_that_were_not_kept_says_how_to_keep_them(machine):
    with pytest.raises(ZeroDivisionError) as failed:
        machine.call("Shop.divide", 0)
    with pytest.raises(bm.UsageError, match="BIGMACHINE_POST_MORTEM=1 before the machines start"):
        bm.post_mortem(failed.value)


PROGRAM = """
import pathlib, time
import bigmachine as bm

class Shop:
    def total(self, prices):
        subtotal = sum(prices)
        breakpoint()
        return subtotal

    def chat(self, text):
        print(text)

with bm.Session("local") as session:
    first, second = session.start(2, services={"Shop": Shop()})
    call = first.submit("Shop.total", [1, 2])
    while not pathlib.Path("ring").exists():
        time.sleep(0.01)
    second.call("Shop.chat", "a line of another machine")
    print("total:", call.result())
"""
# From Python 3.13 on, pdb stops at the line of breakpoint() itself.
LINE = (
    "8)total()\n-> breakpoint()" if sys.version_info >= (3, 13) else "9)total()\n-> return subtotal"
)
SCREEN = f"""\
m0: stopped in the debugger
> shop.py({LINE}
m1: a line of another machine
(Pdb m0) subtotal
3
(Pdb m0) subtotal
3
(Pdb m0) half a line^C
--KeyboardInterrupt--
(Pdb m0) c
total: 3"""


def test_prompt_has_completion_and_history_and_survives_other_output(tmp_path):
    environ = {"TERM": "xterm", "INPUTRC": os.devnull}
    size = (24, 200)
    with shop_on_terminal(tmp_path, PROGRAM, environ=environ, dimensions=size) as terminal:
        screen = pyte.Screen(200, 24)
        parser = pyte.ByteStream(screen)

        def read_to(text: str) -> None:
            terminal.expect_exact(text)
            parser.feed(terminal.before + terminal.after)

        read_to("(Pdb m0) ")
        terminal.send("subt")
        read_to("subt")
        (tmp_path / "ring").touch()
        read_to("a line of another machine\r\n")
        read_to("(Pdb m0) subt")
        terminal.send("\t\r")
        read_to("(Pdb m0) ")
        terminal.send("\x1b[A\r")  # arrow up
        read_to("(Pdb m0) ")
        terminal.send("half a line\x03")
        read_to("--KeyboardInterrupt--")
        read_to("(Pdb m0) ")
        terminal.send("c\r")
        terminal.expect(pexpect.EOF)
        parser.feed(terminal.before)
        terminal.close()
        assert terminal.exitstatus == 0
        lines = [line.rstrip() for line in screen.display]
        assert "\n".join(lines).rstrip().replace(f"{tmp_path.resolve()}/", "") == SCREEN


OWN_PDB = """
import pathlib
import time
import bigmachine as bm

class Shop:
    def total(self, prices):
        while not pathlib.Path("open").exists():
            time.sleep(0.01)
        breakpoint()
        return sum(prices)

with bm.Session("local") as session:
    [machine] = session.start(1, services={"Shop": Shop()})
    call = machine.submit("Shop.total", [1, 2])
    breakpoint()
    print("total:", call.result())
"""


@pytest.mark.long
def test_debugger_waits_while_pdb_of_the_driver_asks(tmp_path):
    with shop_on_terminal(tmp_path, OWN_PDB, environ={}) as terminal:
        terminal.expect_exact("(Pdb) ")
        (tmp_path / "open").touch()
        terminal.expect_exact("m0: stopped at")
        for _ in range(3):
            terminal.sendline("p 6 * 7")
            terminal.expect_exact("42\r\n(Pdb) ")
        terminal.sendline("c")
        terminal.expect_exact("(Pdb m0) ")
        terminal.sendline("c")
        terminal.expect_exact("total: 3")
        terminal.expect(pexpect.EOF)


@pytest.mark.long
def test_sessions_of_one_process_have_the_terminal_in_turn():
    with bm.Session("local") as one, bm.Session("local") as other, typist() as person:
        machines = [session.start(1, services={"Shop": Shop()})[0] for session in (one, other)]
        calls = [machine.submit("Shop.total", [1]) for machine in machines]
        person.answer(PROMPT, "import time; time.sleep(1)")  # for the other one to get in between
        for _ in range(3):
            assert "stopped" not in person.answer(PROMPT, "p 1")
        person.answer(PROMPT, "c")
        assert "stopped" in person.answer(PROMPT, "c")
        assert [call.result() for call in calls] == [1, 1]
