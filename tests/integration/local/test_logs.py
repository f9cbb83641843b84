"""What services log arrives as records, in its place among what they print; it can be read."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest

import bigmachine as bm
from tests.support.waiting import until

logger = logging.getLogger("test.logs")


class Logger:
    def log(self, level: int, message: str, **extra: object) -> int:
        logger.log(level, message, extra=extra)
        return os.getpid()

    def fail(self) -> None:
        try:
            self.missing()
        except AttributeError:
            logger.exception("failed")

    @bm.parallel
    def log_in_process(self, message: str) -> int:
        logger.info(message)
        return os.getpid()

    def log_in_children(self, children: int, count: int, message: str) -> None:
        pids = []
        for _ in range(children):
            if not (pid := os.fork()):
                for _ in range(count):
                    logger.info(message)
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)

    def configure(self, kind: str) -> None:
        """Do to `logging` what libraries and users do."""
        if kind == "basicConfig":
            logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        elif kind == "handler":
            logger.addHandler(logging.StreamHandler(sys.stdout))
        elif kind == "null handler":
            logger.addHandler(logging.NullHandler())
        elif kind == "level of another logger":
            logging.getLogger("test.another").setLevel(logging.ERROR)
        elif kind == "level":
            logger.setLevel(logging.DEBUG)

    def level(self, name: str) -> int:
        return logging.getLogger(name).level

    def print_and_log(self) -> None:
        print("one")
        print("two, not finished", end="", flush=True)
        logger.warning("three\nfour")
        print("five")
        logger.info("not shown")
        print("\x1b_bigmachine 0 {}\x1b\\six")

    def kill_itself(self, last: str, lines: int = 0) -> None:
        sys.stdout.write("".join(f"line {i}\n" for i in range(lines)))
        logger.error(last)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def session() -> Iterator[bm.Session]:
    logger.setLevel(logging.INFO)
    with bm.Session("local") as session:
        yield session
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def machine(session: bm.Session) -> bm.Machine:
    [machine] = session.start(1, services={"Logger": Logger()})
    return machine


def records(caplog: pytest.LogCaptureFixture, machine: bm.Machine) -> list[logging.LogRecord]:
    return [record for record in caplog.records if vars(record).get("machine") == machine.name]


def test_records_arrive_through_logging_of_driver(machine, caplog):
    pid = machine.call("Logger.log", logging.INFO, "half done", job=7)
    machine.call("Logger.log", logging.DEBUG, "below the driver's level")
    machine.call("Logger.fail")
    process = machine.call("Logger.log_in_process", "in a process")
    first, failed, in_process = until(lambda: (found := records(caplog, machine))[2:] and found)
    assert (first.levelno, first.getMessage()) == (logging.INFO, f"{machine.name}: half done")
    assert (first.funcName, first.process, first.job) == ("log", pid, 7)
    assert first.machine == machine.name
    assert failed.exc_text.splitlines()[-1].startswith("AttributeError: ")
    assert in_process.process == process != pid


@pytest.mark.skipif(sys.platform != "linux", reason="pipes can be locked on Linux only")
def test_long_records_of_several_processes_are_not_mixed(machine, caplog):
    message = "x" * 20_000
    machine.call("Logger.log_in_children", 4, 15, message)
    machine.call("Logger.log", logging.INFO, "the end")
    until(lambda: any("the end" in one.getMessage() for one in records(caplog, machine)))
    assert [one.getMessage() for one in records(caplog, machine)][:-1] == [f"m0: {message}"] * 60


def test_level_that_driver_changes_later_holds_on_machines(machine, caplog):
    caplog.set_level(logging.DEBUG, logger=logger.name)
    machine.call("Logger.configure", "level of another logger")
    machine._portal.post(machine._machine._controller.keepalive.ask_now)
    until(lambda: machine.call("Logger.level", logger.name) == logging.DEBUG)
    assert machine.call("Logger.level", "test.another") == logging.ERROR  # as the service wants it


def test_what_a_service_configures_goes_on_working(session, caplog):
    kinds = ["basicConfig", "handler", "null handler", "level"]
    machines = dict(zip(kinds, session.start(4, services={"Logger": Logger()}), strict=True))
    caplog.set_level(logging.DEBUG, logger=logger.name)
    for kind, machine in machines.items():
        machine.call("Logger.configure", kind)
        machine.call("Logger.log", logging.DEBUG if kind == "level" else logging.INFO, kind)
        [line] = until(lambda machine=machine: [*machine.logs(follow=False)])
        assert line.text == kind
        assert (line.level is None) == (kind in ("basicConfig", "handler"))
    for kind in ("null handler", "level"):
        [record] = until(lambda kind=kind: records(caplog, machines[kind]))
        assert record.getMessage() == f"{machines[kind].name}: {kind}"
    assert not records(caplog, machines["basicConfig"]) + records(caplog, machines["handler"])
    for machine in machines.values():
        machine.cancel()


def test_without_configuration_warnings_are_shown_in_order_with_the_prints(session, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])  # as if pytest had not configured it
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        [machine] = session.start(1, services={"Logger": Logger()})
        machine.call("Logger.print_and_log")
        until(lambda: "six" in stderr.getvalue())
        machine.cancel()
    lines = [line.removeprefix(f"{machine.name}: ") for line in stderr.getvalue().splitlines()]
    assert lines == ["one", "two, not finished", "three", "four", "five", "six"]
    kept = [(line.level, line.text) for line in session.logs(machine)]
    assert kept[2:4] == [(logging.WARNING, "three\nfour"), (None, "five")]


def test_handler_of_driver_may_not_call_a_machine_without_end(machine, caplog):
    errors: list[BaseException] = []

    class Calling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == logger.name:
                try:
                    machine.submit("Logger.log", logging.INFO, "again")
                except bm.UsageError as error:
                    errors.append(error)

    handler = Calling()
    logging.root.addHandler(handler)
    try:
        machine.call("Logger.log", logging.INFO, "once")
        [error] = until(lambda: errors)
    finally:
        logging.root.removeHandler(handler)
    assert "can't call a machine" in str(error)


def test_logs_are_followed_until_the_machine_ends_and_kept_afterwards(session):
    [machine] = session.start(1, services={"Logger": Logger()})
    followed: list[str] = []
    thread = threading.Thread(target=lambda: followed.extend(map(str, session.logs(machine))))
    thread.start()
    name = machine.name
    machine.call("Logger.log", logging.INFO, "one")
    until(lambda: [*machine.logs(follow=False)])
    with pytest.raises(bm.MachineStopped) as caught:
        machine.call("Logger.kill_itself", "two", lines=3000)
    thread.join(60)
    lines = ["INFO test.logs: one", *(f"line {i}" for i in range(3000)), "ERROR test.logs: two"]
    killed = f"{name} stopped: killed by signal 9 (SIGKILL)"
    end = "WARNING bigmachine.machine: stopped: killed by signal 9 (SIGKILL)"
    assert followed == [f"{name}: {line}" for line in [*lines, end]]
    last = "\n".join(lines)
    quoted = "\n  ".join([f"The last lines of {name}:", *lines[-20:]])
    assert str(caught.value) == f"Logger.kill_itself was cut off: {killed}\n{quoted}"
    assert str(machine.error) == f"{killed}\n{quoted}"
    assert caught.value.output == machine.error.output == last
    assert [str(line) for line in session.logs(name)] == followed
    with pytest.raises(bm.UsageError, match="nothing is kept of a machine 'm77'"):
        session.logs("m77")
    with pytest.raises(bm.UsageError, match="a machine or its name, not 7"):
        session.logs(7)


def test_logs_are_served_over_http_and_can_be_read_when_the_session_is_shut_down():
    with bm.Session("local") as session, httpx.Client(verify=False, timeout=60) as http:
        url = session.serve_debug("127.0.0.1:0") + "debug/bigmachine/logs"
        first, second = session.start(2, services={"Logger": Logger()})
        with (
            http.stream("GET", f"{url}?follow=1") as everything,
            http.stream("GET", f"{url}?follow=1&machine=m0") as of_one,
            http.stream("GET", f"{url}?follow=1"),  # who goes away holds nobody up
        ):
            lines, lines_of_one = everything.iter_lines(), of_one.iter_lines()
            second.call("Logger.log", logging.ERROR, "here\nthere")
            assert next(lines) == "m1: ERROR test.logs: here"  # at once
            assert next(lines) == "m1: there"
            with pytest.raises(bm.MachineStopped):
                first.call("Logger.kill_itself", "goodbye")
            end = "WARNING bigmachine.machine: stopped: killed by signal 9 (SIGKILL)"
            assert [*lines_of_one] == ["ERROR test.logs: goodbye", end]
            assert next(lines) == "m0: ERROR test.logs: goodbye"
            assert next(lines) == f"m0: {end}"
            second.shutdown()
            assert [*lines] == []
        kept = http.get(f"{url}?machine=m0")
        assert kept.text == f"ERROR test.logs: goodbye\n{end}\n"
        assert http.get(f"{url}?machine=m0&lines=1").text == f"{end}\n"
        assert kept.headers["content-type"] == "text/plain; charset=utf-8"
        unknown = http.get(f"{url}?machine=m7")
        assert unknown.status_code == 400
        assert unknown.text == "nothing is kept of a machine 'm7'; there is m0, m1\n"
    assert [line.logger for line in session.logs("m0")] == ["test.logs", "bigmachine.machine"]
    assert [*first.logs()] == [*session.logs("m0")]


def test_log_that_is_followed_over_http_ends_in_order_with_the_session():
    with bm.Session("local") as session, httpx.Client(verify=False, timeout=60) as http:
        url = session.serve_debug("127.0.0.1:0")
        with http.stream("GET", f"{url}debug/bigmachine/logs?follow=1") as followed:
            session.shutdown()
            assert [*followed.iter_lines()] == []
