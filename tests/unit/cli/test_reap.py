"""``bigmachine reap`` frees leftovers of dead drivers and the sessions that the user names."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bigmachine.cli import main
from bigmachine.reaper import _free
from bigmachine.reaper._log import ReaperLog

NAME = "train-0123abcd"
OTHER = "eval-89abcdef"
COMMAND = [sys.executable, "-c", "import sys; from bigmachine.cli import main; sys.exit(main())"]


def environment_with_shelf(resources) -> dict[str, str]:
    """Return variables with which a subprocess finds the installed system of the test."""
    return {**os.environ, "PYTHONPATH": str(resources.folder.parent / "site")}


# -- without a session name ----------------------------------------------------------


def test_reap_frees_and_lists_leftovers_of_dead_driver_machines_first(
    resources, dead_driver, capsys
):
    resources.add_session(NAME, dead_driver, machines=2, minutes=3)
    assert main(["reap", "shelf"]) == 0
    assert resources.ids == []
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{NAME} on shelf: its driver is dead; 5 resources to free"
    assert set(out[1:3]) == {f"{NAME}: m0 ins-0002 is freed", f"{NAME}: m1 ins-0004 is freed"}
    assert set(out[3:5]) == {f"{NAME}: volume vol-000{n} is freed" for n in (1, 3)}
    assert out[5:] == [f"{NAME}: security-group sec-0000 is freed", "Freed 5 resources."]
    assert main(["reap", "shelf"]) == 0
    assert capsys.readouterr().out == "Nothing to free.\n"


def test_reap_has_nothing_to_free_if_no_system_outlives_its_driver(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # without distributions
    assert main(["reap"]) == 0
    assert capsys.readouterr().out.startswith("Nothing to free: no installed system can list ")
    assert main(["reap", NAME]) == 1


def test_log_of_reaper_is_named_until_its_session_is_freed(resources, dead_driver, capsys):
    resources.add_session(NAME, dead_driver)
    ReaperLog(f"{NAME}.bigmachine").note("it is jammed")
    ReaperLog(f"{OTHER}.bigmachine").note("it is jammed")
    named = f"bigmachine: the reaper could not free all of {NAME} at once: "
    assert main(["reap", "shelf", "--dry-run"]) == 0
    assert named in capsys.readouterr().err
    main(["ps", "shelf", "--json"])
    assert len(json.loads(capsys.readouterr().out)["notes"]) == 2
    assert main(["reap", "shelf"]) == 0
    error = capsys.readouterr().err
    assert named not in error
    assert f"all of {OTHER} at once" in error


def test_reap_skips_session_whose_driver_is_or_may_be_alive(
    resources, live_driver, remote_driver, capsys
):
    resources.add_session(NAME, live_driver, days=400)
    resources.add_session(OTHER, remote_driver, days=400)
    resources.add("m0.unknown-00000000.bigmachine", started="2020-01-01T00:00:00Z")
    before = resources.ids
    assert main(["reap", "shelf"]) == 0
    assert resources.ids == before
    out = capsys.readouterr().out
    assert f"  {NAME} on shelf: driver pid {live_driver.pid} of this computer, alive\n" in out
    assert f"  {OTHER} on shelf: driver pid {remote_driver.pid} on gpu-box, may be alive\n" in out
    assert "Nothing to free." in out


def test_reap_frees_only_session_of_dead_driver(resources, dead_driver, live_driver):
    resources.add_session(OTHER, live_driver)
    before = resources.ids
    resources.add_session(NAME, dead_driver)
    assert main(["reap", "shelf"]) == 0
    assert resources.ids == before


def test_reap_skips_session_if_one_resource_has_live_driver(resources, dead_driver, live_driver):
    resources.add(f"m0.{NAME}.bigmachine", driver=str(dead_driver))
    resources.add(f"m1.{NAME}.bigmachine", driver=str(live_driver))
    assert main(["reap", "shelf"]) == 0
    assert len(resources.ids) == 2


def test_reap_frees_immortal_session_of_dead_driver_only_by_name(resources, dead_driver, capsys):
    resources.add(f"m0.{NAME}.bigmachine", driver=str(dead_driver), immortal="yes")
    resources.add(f"m1.{NAME}.bigmachine", driver=str(dead_driver))
    assert main(["reap", "shelf"]) == 0
    assert len(resources.ids) == 2
    driver = f"driver pid {dead_driver.pid} of this computer, dead; machines are immortal"
    assert f"  {NAME} on shelf: {driver}\n" in capsys.readouterr().out
    assert main(["reap", "shelf", NAME]) == 0
    assert resources.ids == []


def test_reap_frees_session_without_machines_after_one_day(
    resources, remote_driver, live_driver, capsys
):
    resources.add_session(NAME, remote_driver, machines=0, hours=25)
    resources.add_session(OTHER, remote_driver, machines=0, hours=23)
    resources.add_session("live-00000001", live_driver, machines=0, hours=25)
    resources.add("group.timeless-00000002.bigmachine", "security-group", driver=str(remote_driver))
    assert main(["reap", "shelf"]) == 0
    assert resources.ids == ["sec-0001", "sec-0002", "sec-0003"]
    assert f"{NAME} on shelf: it has no machine, and began more than a day ago" in (
        capsys.readouterr().out
    )


# -- by session name -----------------------------------------------------------------


@pytest.mark.parametrize("name", [NAME, f"{NAME}.bigmachine"])
@pytest.mark.parametrize("system", [["shelf"], []])
def test_reap_frees_only_named_session(resources, dead_driver, system, name):
    resources.add_session(OTHER, dead_driver)
    before = resources.ids
    resources.add_session(NAME, dead_driver)
    assert main(["reap", *system, name]) == 0
    assert resources.ids == before


@pytest.mark.parametrize("driver", ["live_driver", "remote_driver"])
def test_reap_needs_yes_for_session_that_may_be_in_use(resources, driver, request, capsys):
    resources.add_session(NAME, request.getfixturevalue(driver))
    before = resources.ids
    assert main(["reap", "shelf", NAME]) == 1
    assert resources.ids == before
    assert "skipped: may be in use, --yes frees it anyway" in capsys.readouterr().err
    assert main(["reap", "shelf", NAME, "--yes"]) == 0
    assert resources.ids == []


def test_reap_needs_no_yes_for_session_of_remote_driver_without_machines(resources, remote_driver):
    resources.add_session(NAME, remote_driver, machines=0)
    assert main(["reap", "shelf", NAME]) == 0
    assert resources.ids == []


def test_reap_needs_yes_for_session_of_live_driver_without_machines(resources, live_driver):
    resources.add_session(NAME, live_driver, machines=0)
    assert main(["reap", "shelf", NAME]) == 1
    assert resources.ids == ["sec-0000"]


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1), ("\x04", 1)])
def test_reap_on_terminal_shows_resources_and_asks_for_confirmation(
    resources, remote_driver, answer, status
):
    resources.add_session(NAME, remote_driver)
    terminal, child_end = pty.openpty()
    try:
        os.write(terminal, f"{answer}\n".encode())
        process = subprocess.run(
            [*COMMAND, "reap", "shelf", NAME],
            stdin=child_end,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment_with_shelf(resources),
        )
    finally:
        os.close(terminal)
        os.close(child_end)
    assert "It may be in use. Free it all? [y/N] " in process.stdout
    assert "m0  ins-0002  c7i.large spot" in process.stdout
    assert process.returncode == status, process.stderr
    assert bool(resources.ids) == bool(status)


def test_reap_reports_unknown_session(resources, live_driver, capsys):
    resources.add_session(OTHER, live_driver)
    assert main(["reap", "shelf", NAME]) == 1
    assert f"no session {NAME} has resources on shelf" in capsys.readouterr().err
    assert len(resources.ids) == 3


def test_reap_suggests_name_for_unknown_system(resources, capsys):
    assert main(["reap", "shlef"]) == 1
    assert "did you mean 'shelf'?" in capsys.readouterr().err


def test_reap_options_require_named_system(resources, dead_driver, tmp_path):
    resources.add_session(NAME, dead_driver)
    (tmp_path / "empty").mkdir()
    assert main(["reap", "shelf", "-o", "folder=empty"]) == 0
    assert len(resources.ids) == 3
    assert main(["reap", NAME, "-o", "folder=empty"]) == 2


# -- dry runs, failures, Ctrl-C -------------------------------------------------------


def test_reap_dry_run_frees_nothing_and_lists_what_it_would_free(
    resources, dead_driver, live_driver, capsys
):
    resources.add_session(NAME, dead_driver)
    resources.add_session(OTHER, live_driver)
    before = resources.ids
    assert main(["reap", "shelf", "--dry-run"]) == 0
    assert main(["reap", "shelf", OTHER, "--dry-run"]) == 0
    assert resources.ids == before
    out = capsys.readouterr().out
    assert f"{NAME}: m0 ins-0002 would be freed\n" in out
    assert f"{OTHER}: m0 ins-0005 would be freed\n" in out
    assert out.count("Would free 3 resources.") == 2


def test_reap_reports_failure_and_dependent_resources_and_frees_the_rest(
    resources, dead_driver, capsys
):
    resources.add_session(NAME, dead_driver, machines=2)
    resources.add_session(OTHER, dead_driver)
    resources.make_stop_fail("ins-0002")
    assert main(["reap", "shelf"]) == 1
    assert resources.ids == ["ins-0002", "sec-0000", "vol-0001", "vol-0003"]
    out, err = capsys.readouterr()
    assert f"bigmachine: {NAME}: m0 ins-0002 cannot be freed: ins-0002 is jammed\n" in err
    assert f"bigmachine: {NAME}: volume vol-0001 is not freed either\n" in err
    assert f"bigmachine: {NAME}: security-group sec-0000 is not freed either\n" in err
    assert out.endswith("Freed 4 resources.\n")


def test_reap_reports_resource_that_is_not_gone_within_timeout(
    resources, dead_driver, capsys, monkeypatch
):
    monkeypatch.setattr(_free, "_TIMEOUT", 0.05)
    resources.add_session(NAME, dead_driver, machines=0)
    resources.make_stop_hang("sec-0000")
    assert main(["reap", "shelf"]) == 1
    assert "cannot be freed: it isn't gone after 0.05 s" in capsys.readouterr().err


def test_reap_interrupted_by_ctrl_c_can_be_run_again(resources, dead_driver, capsys):
    resources.add_session(NAME, dead_driver, machines=2)
    resources.make_stop_hang("ins-0002")
    process = subprocess.Popen(
        [*COMMAND, "reap", "shelf"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_with_shelf(resources),
    )
    with process:
        assert process.stdout.readline().endswith("its driver is dead; 5 resources to free\n")
        assert process.stdout.readline() == f"{NAME}: m1 ins-0004 is freed\n"
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "interrupted: resources that are not reported as freed may still exist" in error
    assert resources.ids == ["ins-0002", "sec-0000", "vol-0001", "vol-0003"]
    Path(resources.folder, "ins-0002.slow").unlink()
    assert main(["reap", "shelf"]) == 0
    assert resources.ids == []


def test_reap_reports_system_without_answer_and_reaps_others(resources, dead_driver, capsys):
    resources.add_session(NAME, dead_driver)
    assert main(["reap"]) == 0
    assert resources.ids == []
    assert "cannot query ec2: region: set neither" in capsys.readouterr().err
    resources.folder.joinpath("ins-0002.jammed").unlink(missing_ok=True)
    resources.folder.rmdir()
    assert main(["reap", "shelf"]) == 1
    assert "cannot query shelf: there is no shelf" in capsys.readouterr().err


def test_reap_frees_what_is_seen_and_says_that_there_may_be_more(resources, dead_driver, capsys):
    resources.add_session(NAME, dead_driver, machines=0)
    resources.hide_the_upper_shelf()
    assert main(["reap", "shelf"]) == 1
    out, err = capsys.readouterr()
    assert resources.ids == []
    assert out.endswith("Freed 1 resource.\n")
    assert "bigmachine: there may be more, run it again later: shelf: the upper shelf" in err
    assert main(["reap", "shelf", NAME]) == 1
    out, err = capsys.readouterr()
    assert "there may be more" in err
    assert "Nothing to free" not in out
    assert "no session" not in err


@pytest.mark.parametrize("arguments", [[], [NAME]], ids=["all", "by name"])
def test_session_whose_machines_may_be_hidden_may_be_in_use(
    resources, remote_driver, capsys, arguments
):
    resources.add_session(NAME, remote_driver, days=2)
    resources.hide_the_upper_shelf()
    before = resources.ids
    assert main(["reap", "shelf", *arguments]) == 1
    assert resources.ids == before
