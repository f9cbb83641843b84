"""What commands show of a running session: its machines' output, profiles, and a dump."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import bigmachine as bm
from bigmachine.cli import main
from bigmachine.cli._running import chosen_session
from bigmachine.debug._socket_folder import SUFFIX, socket_folder
from bigmachine.testing import InProcessSystem
from tests.support.waiting import until


class Worker:
    def say(self, text: str) -> None:
        print(text, flush=True)

    def setup(self, session: bm.PeerSession) -> None:
        self._may_go_on = threading.Event()

    def wait(self) -> None:
        self._may_go_on.wait()
        self._may_go_on.clear()

    def burn(self) -> None:
        while not self._may_go_on.is_set():
            sum(range(1000))
        self._may_go_on.clear()

    async def go_on(self) -> None:
        self._may_go_on.set()


@pytest.fixture(scope="module")
def session():
    with bm.Session("local", maxprocs=1, debug=False) as session:
        yield session


@pytest.fixture(scope="module")
def machines(session):
    machines = session.start(2, services={"Worker": Worker()})
    for machine in machines:
        machine.call("Worker.say", f"I am {machine.name} é")
    return machines


# -- logs -----------------------------------------------------------------------------


def test_logs_of_all_begin_with_a_name_and_those_of_one_do_not(machines, capsys, monkeypatch):
    def shown(*arguments: str) -> str:
        assert main(["logs", *arguments]) == 0
        return capsys.readouterr().out

    until(lambda: shown().count("I am m") == 2)
    assert sorted(shown().splitlines()) == ["m0: I am m0 é", "m1: I am m1 é"]
    assert shown("m1") == "I am m1 é\n"
    assert shown("-n", "1") in ("m0: I am m0 é\n", "m1: I am m1 é\n")
    assert shown("-n", "0") == ""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert shown("-n", "1", "-t").split("  ", 1)[1] in (
        "\x1b[36mm0\x1b[0m: I am m0 é\n",
        "\x1b[33mm1\x1b[0m: I am m1 é\n",
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown("-n", "9") == shown()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  I am m1 é\n", shown("m1", "-t"))


def test_process_of_each_local_machine_is_shown(session, machines, capsys):
    [m0, _] = (machine.instance for machine in machines)
    assert m0.id == str(machines[0].info().pid)
    assert main(["ps", "local"]) == 0
    assert f"  m0  {m0.id}  {m0.address}  running\n" in capsys.readouterr().out
    status = chosen_session(session.name).read("status").decode()
    assert f"  m0  running   {m0.address}  id {m0.id}  " in status


def test_session_that_ends_while_it_answers_hides_no_other(session, machines, capsys):
    folder = socket_folder()
    assert folder is not None
    path = folder / f"ending-0123abcd{SUFFIX}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        ending = threading.Thread(target=_answer_in_part, args=(listener,))
        ending.start()
        try:
            assert main(["ps", "local"]) == 1
        finally:
            path.unlink()
            listener.shutdown(socket.SHUT_RDWR)
            ending.join()
    out, err = capsys.readouterr()
    assert session.name.partition(".")[0] in out
    assert "session ending-0123abcd has ended" in err


def _answer_in_part(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is shut down
        while True:
            connection, _ = listener.accept()
            with connection:
                if connection.recv(1 << 16):
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")


def test_logs_end_quietly_when_their_reader_has_gone(machines, monkeypatch, capfd):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["logs"]) == 141
        monkeypatch.undo()
    assert capfd.readouterr().err == ""


# -- ssh ------------------------------------------------------------------------------


class LoginSystem(InProcessSystem):
    login_user = "ubuntu"


def test_ssh_is_given_user_address_and_arguments(tmp_path):
    (tmp_path / "ssh").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    (tmp_path / "ssh").chmod(0o755)
    with bm.Session(LoginSystem(), debug=False) as session:
        [machine] = session.start(1, services={"Worker": Worker()})
        host = urlsplit(machine.addr).hostname
        bigmachine = Path(sys.executable).with_name("bigmachine")
        command = [bigmachine, "ssh", "--session", session.name, "m0"]
        done = subprocess.run(
            [*command, "--", "-i", "key", "df", "-h"],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert done.stdout == f"-l|ubuntu|{host}|-i|key|df|-h|"


@pytest.mark.parametrize(
    ("machine", "why"),
    [("m0", "opened with the option ssh_key"), ("m7", "has no machine 'm7'; it has m0, m1")],
)
def test_ssh_to_machine_without_login_says_why(machines, machine, why, capsys):
    assert main(["ssh", machine]) == 2
    assert why in capsys.readouterr().err


def test_ssh_in_session_without_machines_says_so(capsys):
    with bm.Session(InProcessSystem(), debug=False) as empty:
        assert main(["ssh", "--session", empty.name, "m0"]) == 2
    assert capsys.readouterr().err.endswith(" has no machine 'm0'; it has none that runs\n")


# -- profiles -------------------------------------------------------------------------


def test_profile_prints_hot_function_and_writes_files(machines, capsys, tmp_path):
    pprof, flame = tmp_path / "cpu.pb.gz", tmp_path / "cpu.html"
    futures = [machine.submit("Worker.burn") for machine in machines]
    arguments = ["profile", "--lines", "--seconds", "0.2"]
    arguments += ["--output", str(pprof), "--flame", str(flame)]

    def shown() -> str:
        assert main(arguments) == 0
        return capsys.readouterr().out

    out = until(lambda: "Worker.burn" in (text := shown()) and text)  # once it had a processor
    assert out.startswith("cpu: ")
    assert "on 2 machines: m0 m1" in out
    assert "cum%  line\n" in out
    assert out.endswith(f"written: {pprof}\nwritten: {flame}\n")
    assert b"Worker.burn" in gzip.decompress(pprof.read_bytes())
    assert flame.read_text().lower().startswith("<!doctype html>")
    assert [path.stat().st_mode & 0o777 for path in (pprof, flame)] == [0o600] * 2
    go_on(machines, futures)


def go_on(machines: list[bm.Machine], futures: list[Future[None]]) -> None:
    for machine, future in zip(machines, futures, strict=True):
        machine.call("Worker.go_on")
        future.result()


@pytest.mark.long
def test_profile_of_memory_of_one_machine_as_json(machines, capsys):
    assert main(["profile", "--heap", "m1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["type"], shown["unit"], shown["machines"]) == ("inuse_space", "bytes", ["m1"])
    assert max(row["cum"] for row in shown["functions"]) <= shown["total"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["profile", "m7"], "no machine 'm7' runs; there is m0, m1"),
        (["profile", "--seconds", "0"], "a profile takes some time: give --seconds 10, or --heap"),
        (["profile", "--output", "/no/x", "--seconds", "300"], "No such file or directory /no/x"),
        (["dump", "--output", "/"], "Is a directory /"),
        (["profile", "--seconds", "1e9"], "seconds is a number up to 300, such as seconds=10"),
        (["profile", "--session", "other"], "no session 'other' runs on this computer"),
        (["threads", "m7"], "no machine 'm7' runs; there is m0, m1"),
        (["logs", "m7"], "nothing is kept of a machine 'm7'; there is m0, m1"),
    ],
)
def test_wrong_argument_is_one_line(machines, capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"bigmachine: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["profile", "--seconds", "ten"], "--seconds: a number of seconds, such as 10, not 'ten'"),
        (["logs", "-n", "-1"], "-n/--lines: a number of lines, such as 20, not '-1'"),
    ],
)
def test_argument_that_is_no_number_is_a_usage_error(capsys, arguments, message):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_threads_show_where_code_of_the_user_is(machines, capsys):
    futures = [machine.submit("Worker.wait") for machine in machines]

    def shown(*arguments: str) -> str:
        assert main(["threads", *arguments]) == 0
        return capsys.readouterr().out

    until(lambda: shown().count("2 threads wait in Worker.wait: m0 ") == 1)
    assert "in Worker.wait\n" in shown("m1")
    assert "m0" not in shown("m1")
    assert shown().endswith(" run no code of yours; --full shows them\n")
    assert "_serve" in shown("--full")
    go_on(machines, futures)


# -- dumps ----------------------------------------------------------------------------


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        assert all(member.isfile() for member in archive)
        return {one.name: archive.extractfile(one).read() for one in archive.getmembers()}


def test_dump_has_all_that_can_be_known_and_only_its_user_can_read_it(
    session, machines, tmp_path, capsys
):
    path = tmp_path / "dump.tar.gz"
    assert main(["dump", "--output", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: ")
    assert path.stat().st_mode & 0o777 == 0o600
    short = session.name.removesuffix(".bigmachine")
    found = {name.removeprefix(f"{short}/"): data for name, data in contents(path).items()}
    assert f"<AsyncSession {session.name}" in found["session.txt"].decode()
    assert "Python 3" in found["session.txt"].decode()
    assert b"  m0  running" in found["status.txt"]
    assert json.loads(found["status.json"])["name"] == session.name
    assert "bigmachine_calls_begun" in found["variables.json"].decode()
    short, full = (found[f"threads{kind}.txt"].decode() for kind in ("", "-full"))
    assert "on 2 machines: m0 m1" in short
    assert short.endswith("tasks run no code of yours; threads-full.txt shows them")
    assert len(full) > len(short)
    assert "_heap" not in full  # what the dump itself asks for is not yet there
    assert "bigmachine" in found["driver-threads.txt"].decode()
    assert "on 2 machines: m0 m1" in found["heap.txt"].decode()
    assert gzip.decompress(found["heap.pb.gz"])
    assert found["logs/m1.txt"].decode().endswith(" I am m1 é\n")


# -- the end of a machine -------------------------------------------------------------


def test_followed_logs_come_line_by_line_and_end_with_the_machine(machines):
    code = "import sys; from bigmachine.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "logs", "-f", "m0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(100, process.kill)
        watchdog.start()
        assert process.stdout.readline() == "I am m0 é\n"
        machines[0].call("Worker.say", "more")
        assert process.stdout.readline() == "more\n"
        machines[0].cancel()
        assert process.stdout.read() == ""
        assert process.wait() == 0
        watchdog.cancel()
