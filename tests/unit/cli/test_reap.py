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


def test_reap_frees_and_lists_leftovers_of_dead_driver_machines_first(things, dead, capsys):
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


def test_reap_skips_session_whose_driver_is_or_may_be_alive(things, alive, elsewhere, capsys):
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


def test_reap_frees_only_session_of_dead_driver(things, dead, alive):
    things.fill(OTHER, alive)
    before = things.left
    things.fill(NAME, dead)
    assert main(["reap", "shelf"]) == 0
    assert things.left == before


def test_reap_skips_session_if_one_resource_has_live_driver(things, dead, alive):
    things.put(f"m0.{NAME}.bigmachine", driver=str(dead))
    things.put(f"m1.{NAME}.bigmachine", driver=str(alive))
    assert main(["reap", "shelf"]) == 0
    assert len(things.left) == 2


def test_reap_frees_immortal_session_of_dead_driver_only_by_name(things, dead, capsys):
    things.put(f"m0.{NAME}.bigmachine", driver=str(dead), immortal="yes")
    things.put(f"m1.{NAME}.bigmachine", driver=str(dead))
    assert main(["reap", "shelf"]) == 0
    assert len(things.left) == 2
    said = f"{NAME} on shelf: driver pid {dead.pid} of this computer, dead; machines are immortal"
    assert f"  {said}\n" in capsys.readouterr().out
    assert main(["reap", "shelf", NAME]) == 0
    assert things.left == []


def test_reap_frees_session_without_machines_after_one_day(things, elsewhere, alive, capsys):
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
def test_reap_frees_only_named_session(things, dead, system, name):
    things.fill(OTHER, dead)
    before = things.left
    things.fill(NAME, dead)
    assert main(["reap", *system, name]) == 0
    assert things.left == before


@pytest.mark.parametrize("driver", ["alive", "elsewhere"])
def test_reap_needs_yes_for_session_that_may_be_in_use(things, driver, request, capsys):
    things.fill(NAME, request.getfixturevalue(driver))
    before = things.left
    assert main(["reap", "shelf", NAME]) == 1
    assert things.left == before
    assert "skipped: may be in use, --yes frees it anyway" in capsys.readouterr().err
    assert main(["reap", "shelf", NAME, "--yes"]) == 0
    assert things.left == []


def test_reap_needs_no_yes_for_session_of_remote_driver_without_machines(things, elsewhere):
    things.fill(NAME, elsewhere, machines=0)
    assert main(["reap", "shelf", NAME]) == 0
    assert things.left == []


def test_reap_needs_yes_for_session_of_live_driver_without_machines(things, alive):
    things.fill(NAME, alive, machines=0)
    assert main(["reap", "shelf", NAME]) == 1
    assert things.left == ["sec-0000"]


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1), ("\x04", 1)])
def test_reap_on_terminal_shows_resources_and_asks_for_confirmation(
    things, elsewhere, answer, status
):
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


def test_reap_reports_unknown_session(things, alive, capsys):
    things.fill(OTHER, alive)
    assert main(["reap", "shelf", NAME]) == 1
    assert f"no session {NAME} has resources on shelf" in capsys.readouterr().err
    assert len(things.left) == 3


def test_reap_suggests_name_for_unknown_system(things, capsys):
    assert main(["reap", "shlef"]) == 1
    assert "did you mean 'shelf'?" in capsys.readouterr().err


def test_reap_options_require_named_system(things, dead, tmp_path):
    things.fill(NAME, dead)
    (tmp_path / "empty").mkdir()
    assert main(["reap", "shelf", "-o", "folder=empty"]) == 0
    assert len(things.left) == 3
    assert main(["reap", NAME, "-o", "folder=empty"]) == 2


# -- dry runs, failures, Ctrl-C -------------------------------------------------------


def test_reap_dry_run_frees_nothing_and_lists_what_it_would_free(things, dead, alive, capsys):
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


def test_reap_reports_failure_and_dependent_resources_and_frees_the_rest(things, dead, capsys):
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


def test_reap_reports_resource_that_is_not_gone_within_timeout(things, dead, capsys, monkeypatch):
    monkeypatch.setattr(_free, "_TIMEOUT", 0.05)
    things.fill(NAME, dead, machines=0)
    things.slow("sec-0000")
    assert main(["reap", "shelf"]) == 1
    assert "cannot be freed: it isn't gone after 0.05 s" in capsys.readouterr().err


def test_reap_interrupted_by_ctrl_c_can_be_run_again(things, dead, capsys):
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


def test_reap_reports_system_without_answer_and_reaps_others(things, dead, capsys):
    things.fill(NAME, dead)
    assert main(["reap"]) == 0
    assert things.left == []
    assert "cannot query ec2: region: set neither" in capsys.readouterr().err
    things.folder.joinpath("ins-0002.jammed").unlink(missing_ok=True)
    things.folder.rmdir()
    assert main(["reap", "shelf"]) == 1
    assert "cannot query shelf: there is no shelf" in capsys.readouterr().err
