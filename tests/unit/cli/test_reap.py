"""``bigmachine reap`` frees what is surely left behind, and what it is told to; nothing else."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bigmachine.cli import main
from bigmachine.reaper import _free

NAME = "train-0123abcd"
OTHER = "eval-89abcdef"
COMMAND = [sys.executable, "-c", "import sys; from bigmachine.cli import main; sys.exit(main())"]


def environ(things) -> dict[str, str]:
    """For a command of its own, which finds the system of the test."""
    return {**os.environ, "PYTHONPATH": str(things.folder.parent / "site")}


# -- without names --------------------------------------------------------------------


def test_what_a_dead_driver_left_is_freed_machines_first_and_said(things, dead, capsys):
    things.fill(NAME, dead, machines=2, minutes=3)
    assert main(["reap", "shelf"]) == 0
    assert things.left == []
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{NAME} on shelf: its driver is dead; 5 resources to free"
    assert set(out[1:3]) == {f"{NAME}: m0 ins-0002 is freed", f"{NAME}: m1 ins-0004 is freed"}
    assert set(out[3:5]) == {f"{NAME}: volume vol-000{n} is freed" for n in (1, 3)}
    assert out[5:] == [f"{NAME}: security-group sec-0000 is freed", "Freed 5 resources."]
    assert main(["reap", "shelf"]) == 0
    assert capsys.readouterr().out == "Nothing to free.\n"


def test_a_session_whose_driver_lives_or_may_live_is_left_alone(things, alive, elsewhere, capsys):
    things.fill(NAME, alive, days=400)
    things.fill(OTHER, elsewhere, days=400)
    things.put("m0.nobodys-00000000.bigmachine", started="2020-01-01T00:00:00Z")
    before = things.left
    assert main(["reap", "shelf"]) == 0
    assert things.left == before
    out = capsys.readouterr().out
    assert f"  {NAME} on shelf: driver pid {alive.pid} of this computer, alive\n" in out
    assert f"  {OTHER} on shelf: driver pid {elsewhere.pid} on gpu-box, may be alive\n" in out
    assert "Nothing to free." in out


def test_of_a_dead_drivers_session_and_a_living_ones_only_the_one_is_freed(things, dead, alive):
    things.fill(OTHER, alive)
    before = things.left
    things.fill(NAME, dead)
    assert main(["reap", "shelf"]) == 0
    assert things.left == before


def test_a_session_with_one_thing_of_a_living_driver_is_not_orphaned(things, dead, alive):
    things.put(f"m0.{NAME}.bigmachine", driver=str(dead))
    things.put(f"m1.{NAME}.bigmachine", driver=str(alive))
    assert main(["reap", "shelf"]) == 0
    assert len(things.left) == 2


def test_a_dead_drivers_immortal_machine_is_freed_by_who_names_it_and_by_nobody_else(
    things, dead, capsys
):
    things.put(f"m0.{NAME}.bigmachine", driver=str(dead), immortal="yes")
    things.put(f"m1.{NAME}.bigmachine", driver=str(dead))
    assert main(["reap", "shelf"]) == 0
    assert len(things.left) == 2
    said = f"{NAME} on shelf: driver pid {dead.pid} of this computer, dead; machines are immortal"
    assert f"  {said}\n" in capsys.readouterr().out
    assert main(["reap", "shelf", NAME]) == 0
    assert things.left == []


def test_without_machines_a_session_is_left_behind_after_a_day(things, elsewhere, alive, capsys):
    things.fill(NAME, elsewhere, machines=0, hours=25)
    things.fill(OTHER, elsewhere, machines=0, hours=23)
    things.fill("mine-00000001", alive, machines=0, hours=25)
    things.put("group.timeless-00000002.bigmachine", "security-group", driver=str(elsewhere))
    assert main(["reap", "shelf"]) == 0
    assert things.left == ["sec-0001", "sec-0002", "sec-0003"]
    assert f"{NAME} on shelf: it has no machine, and began more than a day ago" in (
        capsys.readouterr().out
    )


# -- by name --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [NAME, f"{NAME}.bigmachine"])
@pytest.mark.parametrize("system", [["shelf"], []])
def test_a_session_that_is_named_is_freed_and_no_other(things, dead, system, name):
    things.fill(OTHER, dead)
    before = things.left
    things.fill(NAME, dead)
    assert main(["reap", *system, name]) == 0
    assert things.left == before


@pytest.mark.parametrize("driver", ["alive", "elsewhere"])
def test_one_that_may_be_in_use_is_freed_for_a_yes_only(things, driver, request, capsys):
    things.fill(NAME, request.getfixturevalue(driver))
    before = things.left
    assert main(["reap", "shelf", NAME]) == 1
    assert things.left == before
    assert "skipped: may be in use, --yes frees it anyway" in capsys.readouterr().err
    assert main(["reap", "shelf", NAME, "--yes"]) == 0
    assert things.left == []


def test_without_machines_one_of_a_driver_elsewhere_is_freed_by_its_name_alone(things, elsewhere):
    things.fill(NAME, elsewhere, machines=0)
    assert main(["reap", "shelf", NAME]) == 0
    assert things.left == []


def test_without_machines_one_of_a_living_driver_takes_a_yes(things, alive):
    things.fill(NAME, alive, machines=0)
    assert main(["reap", "shelf", NAME]) == 1
    assert things.left == ["sec-0000"]


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1), ("\x04", 1)])
def test_on_a_terminal_it_shows_what_there_is_and_asks(things, elsewhere, answer, status):
    things.fill(NAME, elsewhere)
    terminal, side = pty.openpty()
    try:
        os.write(terminal, f"{answer}\n".encode())
        process = subprocess.run(
            [*COMMAND, "reap", "shelf", NAME],
            stdin=side,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environ(things),
        )
    finally:
        os.close(terminal)
        os.close(side)
    assert "It may be in use. Free it all? [y/N] " in process.stdout
    assert "m0  ins-0002  c7i.large spot" in process.stdout
    assert process.returncode == status, process.stderr
    assert bool(things.left) == bool(status)


def test_a_session_that_isnt_there_is_told(things, alive, capsys):
    things.fill(OTHER, alive)
    assert main(["reap", "shelf", NAME]) == 1
    assert f"no session {NAME} has resources on shelf" in capsys.readouterr().err
    assert len(things.left) == 3


def test_a_system_that_isnt_there_is_told(things, capsys):
    assert main(["reap", "shlef"]) == 1
    assert "did you mean 'shelf'?" in capsys.readouterr().err


def test_an_option_is_one_of_the_system_that_is_named(things, dead, tmp_path):
    things.fill(NAME, dead)
    (tmp_path / "empty").mkdir()
    assert main(["reap", "shelf", "-o", "folder=empty"]) == 0
    assert len(things.left) == 3
    assert main(["reap", NAME, "-o", "folder=empty"]) == 2


# -- dry runs, failures, Ctrl-C -------------------------------------------------------


def test_a_dry_run_frees_nothing_and_says_what_would_be(things, dead, alive, capsys):
    things.fill(NAME, dead)
    things.fill(OTHER, alive)
    before = things.left
    assert main(["reap", "shelf", "--dry-run"]) == 0
    assert main(["reap", "shelf", OTHER, "--dry-run"]) == 0
    assert things.left == before
    out = capsys.readouterr().out
    assert f"{NAME}: m0 ins-0002 would be freed\n" in out
    assert f"{OTHER}: m0 ins-0005 would be freed\n" in out
    assert out.count("Would free 3 resources.") == 2


def test_what_cant_be_freed_is_told_with_what_waits_for_it_and_the_rest_is_freed(
    things, dead, capsys
):
    things.fill(NAME, dead, machines=2)
    things.fill(OTHER, dead)
    things.jam("ins-0002")
    assert main(["reap", "shelf"]) == 1
    assert things.left == ["ins-0002", "sec-0000", "vol-0001", "vol-0003"]
    out, err = capsys.readouterr()
    assert f"bigmachine: {NAME}: m0 ins-0002 cannot be freed: ins-0002 is jammed\n" in err
    assert f"bigmachine: {NAME}: volume vol-0001 is not freed either\n" in err
    assert f"bigmachine: {NAME}: security-group sec-0000 is not freed either\n" in err
    assert out.endswith("Freed 4 resources.\n")


def test_a_thing_that_is_not_gone_in_time_is_told(things, dead, capsys, monkeypatch):
    monkeypatch.setattr(_free, "_TIMEOUT", 0.05)
    things.fill(NAME, dead, machines=0)
    things.slow("sec-0000")
    assert main(["reap", "shelf"]) == 1
    assert "cannot be freed: it isn't gone after 0.05 s" in capsys.readouterr().err


def test_a_ctrl_c_ends_it_and_it_can_be_run_again(things, dead, capsys):
    things.fill(NAME, dead, machines=2)
    things.slow("ins-0002")
    process = subprocess.Popen(
        [*COMMAND, "reap", "shelf"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ(things),
    )
    with process:
        assert process.stdout.readline().endswith("its driver is dead; 5 resources to free\n")
        assert process.stdout.readline() == f"{NAME}: m1 ins-0004 is freed\n"
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "interrupted: resources that are not reported as freed may still exist" in error
    assert things.left == ["ins-0002", "sec-0000", "vol-0001", "vol-0003"]
    Path(things.folder, "ins-0002.slow").unlink()
    assert main(["reap", "shelf"]) == 0
    assert things.left == []


def test_a_system_that_cant_be_asked_is_told_and_the_others_are_reaped(things, dead, capsys):
    things.fill(NAME, dead)
    assert main(["reap"]) == 0
    assert things.left == []
    assert "cannot query ec2: region: set neither" in capsys.readouterr().err
    things.folder.joinpath("ins-0002.jammed").unlink(missing_ok=True)
    things.folder.rmdir()
    assert main(["reap", "shelf"]) == 1
    assert "cannot query shelf: there is no shelf" in capsys.readouterr().err
