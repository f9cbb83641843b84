"""``bigmachine profile``: the text, the files, and wrong arguments."""

from __future__ import annotations

import gzip

import pytest

import bigmachine as bm
from bigmachine.cli import main
from bigmachine.testing import InProcessSystem


class Burner:
    def __init__(self) -> None:
        self.is_ended = False

    def burn(self) -> None:
        while not self.is_ended:
            sum(range(1000))

    async def end(self) -> None:
        self.is_ended = True


@pytest.fixture(scope="module")
def session():
    with bm.Session("local", maxprocs=1, debug=False) as session:
        machines = session.start(2, services={"Burner": Burner()})
        futures = [machine.submit("Burner.burn") for machine in machines]
        yield session
        for machine in machines:
            machine.call("Burner.end")
        for future in futures:
            future.result()


def test_profile_prints_hot_function_and_writes_files(session, capsys, tmp_path):
    pprof, flame = tmp_path / "cpu.pb.gz", tmp_path / "cpu.html"
    arguments = ["profile", "--seconds", "0.3", "-o", str(pprof), "--flame", str(flame)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("cpu: ")
    assert "on 2 machines: m0 m1" in out
    assert "Burner.burn" in out
    assert out.endswith(f"written: {pprof}\nwritten: {flame}\n")
    assert b"Burner.burn" in gzip.decompress(pprof.read_bytes())
    assert flame.read_text().lower().startswith("<!doctype html>")
    assert [path.stat().st_mode & 0o777 for path in (pprof, flame)] == [0o600] * 2


def test_profile_of_one_machine_and_of_memory(session, capsys):
    assert main(["profile", "--heap", "--machine", "m1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("inuse_space: ")
    assert "on 1 machine: m1" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--machine", "m7"], "no machine 'm7' runs; there is m0, m1"),
        (["--seconds", "0"], "a profile takes some seconds: seconds=10"),
        (["--seconds", "1e9"], "seconds is a number up to 300, such as seconds=10"),
        (["--session", "other"], "no session 'other' runs on this computer"),
    ],
)
def test_wrong_argument_of_profile_is_one_line(session, capsys, arguments, message):
    assert main(["profile", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"bigmachine: {message}")
    assert error.count("\n") == 1


def test_seconds_that_are_no_number_are_a_usage_error(capsys):
    with pytest.raises(SystemExit):
        main(["profile", "--seconds", "ten"])
    assert "--seconds: a number of seconds, such as 10, not 'ten'" in capsys.readouterr().err


def test_profile_of_session_without_machines_says_so(capsys):
    with bm.Session(InProcessSystem(), name="empty"):
        assert main(["profile", "--session", "empty", "--seconds", "0.1"]) == 2
    assert "no machine of this session is running" in capsys.readouterr().err
