"""``bigmachine ps`` shows sessions, their resources and their drivers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import socket

import pytest

import bigmachine as bm
from bigmachine.cli import _found_here, _running, main
from bigmachine.debug._socket_folder import socket_folder
from bigmachine.testing import InProcessSystem

NAME = "train-0123abcd"


class Echo:
    def echo(self, value: int) -> int:
        return value


class ShelvedSystem(InProcessSystem):
    """A system whose sessions are on the shelf, too."""

    name = "shelf"


def lines(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_ps_shows_driver_age_resources_and_cost_of_each_session(
    resources, dead_driver, live_driver, capsys
):
    resources.add_session(NAME, dead_driver, machines=2, hours=2, minutes=5)
    resources.add_session("eval-89abcdef", live_driver, machines=1, seconds=7)
    assert main(["ps", "shelf"]) == 0
    out = re.sub(r"\d+ s ago", "7 s ago", capsys.readouterr().out)
    assert out == (
        f"""\
train-0123abcd on shelf, began 2 h 5 min ago                            $0.124/h
  driver: pid {dead_driver.pid} of this computer, dead
  m0  ins-0002  c7i.large spot  upper  running                          $0.062/h
  m1  ins-0004  c7i.large spot  upper  running                          $0.062/h
  volume          vol-0001  upper  in-use
  volume          vol-0003  upper  in-use
  security-group  sec-0000

eval-89abcdef on shelf, began 7 s ago                                   $0.062/h
  driver: pid {live_driver.pid} of this computer, alive
  m0  ins-0007  c7i.large spot  upper  running                          $0.062/h
  volume          vol-0006  upper  in-use
  security-group  sec-0005

2 sessions, 3 machines                                                  $0.186/h
`bigmachine reap` frees what dead drivers have left.
"""
    )


EVIL = "\x1b]0;title\x07\x1b[2J\nm9  ins-9999\r\0"


@pytest.mark.parametrize("command", [["ps", "shelf"], ["reap", "shelf", NAME, "--yes"]])
def test_texts_of_provider_are_harmless_and_stay_in_their_lines(resources, capsys, command):
    resources.add(f"m0{EVIL}.{NAME}.bigmachine", zone=EVIL, state=EVIL, driver=EVIL, host=EVIL)
    main(command)
    output = capsys.readouterr()
    for line in (output.out + output.err).splitlines():
        assert line.isprintable()
        assert not line.startswith("m9")


def test_ps_orders_machines_by_number(resources, live_driver, capsys):
    resources.add_session(NAME, live_driver, machines=11)
    main(["ps", "shelf"])
    shown = [line.split()[0] for line in lines(capsys) if line.startswith("  m")]
    assert shown == [f"m{number}" for number in range(11)]


def test_machines_that_are_billed_in_vain_come_first(resources, live_driver, capsys):
    resources.add_session("eval-89abcdef", live_driver, machines=2, hours=2)
    resources.add_session(NAME, live_driver, machines=1, seconds=7)
    resources.add(f"m1.{NAME}.bigmachine", state="stopped, billed", stopped_and_billed="yes")
    main(["ps", "shelf"])
    shown = [line.split()[0] for line in lines(capsys) if line[:3] in ("  m", "tra", "eva")]
    assert shown == [NAME, "m1", "m0", "eval-89abcdef", "m0", "m1"]


def test_ps_shows_host_of_remote_driver_that_may_be_alive(resources, remote_driver, capsys):
    resources.add_session(NAME, remote_driver)
    main(["ps", "shelf"])
    out = capsys.readouterr().out
    assert f"  driver: pid {remote_driver.pid} on gpu-box, may be alive\n" in out
    assert "reap" not in out


def test_ps_shows_resource_without_driver_and_start_time(resources, capsys):
    resources.add(f"m0.{NAME}.bigmachine")
    assert main(["ps", "shelf"]) == 0
    assert lines(capsys) == [
        f"{NAME} on shelf",
        "  driver: unknown, may be alive",
        "  m0  ins-0000",
        "",
        "1 session, 1 machine",
    ]


def test_ps_shows_id_once_for_machine_without_name(resources, capsys):
    resources.add(f"ins-0000.{NAME}.bigmachine")
    assert main(["ps", "shelf"]) == 0
    assert "  instance  ins-0000" in lines(capsys)


def test_ps_says_that_no_session_has_resources(resources, capsys):
    assert main(["ps", "shelf"]) == 0
    assert lines(capsys) == ["No session has resources on shelf."]


def test_ps_lists_what_is_seen_and_says_that_it_may_not_be_all(resources, live_driver, capsys):
    resources.hide_the_upper_shelf()
    assert main(["ps", "shelf"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "bigmachine: shelf: this may not be all: the upper shelf is dark\n")
    resources.add_session(NAME, live_driver)
    assert main(["ps", "shelf", "--json"]) == 1
    output = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in output["sessions"][0]["resources"]] == ["security-group"]
    assert output["failed"] == ["shelf: this may not be all: the upper shelf is dark"]


def test_ps_json_has_sessions_resources_and_drivers(resources, dead_driver, remote_driver, capsys):
    resources.add_session(NAME, dead_driver, hours=2)
    resources.add_session("eval-89abcdef", remote_driver)
    assert main(["ps", "shelf", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["failed"] == []
    first, second = output["sessions"]
    assert first["session"] == f"{NAME}.bigmachine"
    assert first["system"] == "shelf"
    assert first["orphaned"] == "its driver is dead"
    assert first["cost_per_hour"] == 0.062
    machine, volume, _ = first["resources"]
    assert (machine["id"], machine["kind"], machine["state"]) == ("ins-0002", "instance", "running")
    assert (volume["kind"], volume["cost_per_hour"]) == ("volume", None)
    assert second["orphaned"] is None
    assert second["driver"] == {
        "host": "gpu-box",
        "pid": remote_driver.pid,
        "is_here": False,
        "is_alive": None,
    }


def test_ps_queries_all_capable_systems_and_succeeds_if_one_answers(resources, capsys):
    assert main(["ps"]) == 0
    out, err = capsys.readouterr()
    assert out == "No session runs on this computer or has resources on shelf.\n"
    assert "bigmachine: cannot query ec2: region: set neither" in err
    assert "local" not in out + err


def test_systems_that_were_not_named_and_do_not_answer_are_a_remark(resources, capsys):
    resources.folder.rmdir()
    assert main(["ps"]) == 0
    out, err = capsys.readouterr()
    assert out == "No session runs on this computer.\n"
    assert "cannot query shelf: there is no shelf at" in err


def test_ps_fails_if_named_system_does_not_answer(resources, capsys):
    assert main(["ps", "shelf", "ec2"]) == 1
    out, err = capsys.readouterr()
    assert out == "No session has resources on shelf.\n"
    assert "cannot query ec2" in err


def test_ps_of_system_that_lists_nothing_shows_sessions_that_run_here(capsys):
    assert main(["ps", "local"]) == 0
    assert capsys.readouterr().out == "No session has resources on local.\n"
    with bm.Session(InProcessSystem(), name="here") as session:
        session.start(2, services={"Echo": Echo()})
        name = session.name.removesuffix(".bigmachine")
        assert main(["ps"]) == 0
        out = capsys.readouterr().out
        assert f"{name} on in-process, began " in out
        assert f"pid {os.getpid()} (" in out
        assert re.search(r"^  m1  .*  running$", out, re.M)
        assert main(["ps", "local"]) == 0
        assert name not in capsys.readouterr().out
        main(["ps", "--json"])
        [shown] = json.loads(capsys.readouterr().out)["sessions"]
        assert (shown["session"], len(shown["resources"])) == (session.name, 2)
        assert shown["driver"]["is_alive"]


def test_session_that_its_provider_lists_is_shown_once(resources, live_driver, capsys):
    with bm.Session(ShelvedSystem()) as session:
        resources.add_session(session.name.removesuffix(".bigmachine"), live_driver)
        main(["ps"])
    assert capsys.readouterr().out.count(" on shelf, began ") == 1


def test_session_of_another_version_is_named(capsys, monkeypatch):
    with bm.Session(InProcessSystem(), name="old") as session:
        monkeypatch.setattr(session._session._board, "status", NewerStatus)
        for command in (["ps"], ["top"]):
            main(command)
            assert "bigmachine: session old-" in (error := capsys.readouterr().err)
            assert " runs another version of bigmachine: use the command that is" in error


@dataclasses.dataclass
class NewerStatus:
    """What a later version of bigmachine may answer."""

    name: str = "old"


@pytest.mark.parametrize("is_crowded", [False, pytest.param(True, marks=pytest.mark.long)])
def test_session_that_does_not_answer_is_named_soon(capsys, monkeypatch, is_crowded):
    monkeypatch.setattr(_found_here, "_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(_running, "ANSWER_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as stopped, contextlib.ExitStack() as clients:
        stopped.bind(str(socket_folder(make=True) / "stopped.sock"))
        stopped.listen(3)
        try:
            if is_crowded:
                fill(stopped.getsockname(), clients)
            for command in (["ps"], ["dump"], ["profile"], ["logs", "-f"]):
                assert main(command) == (0 if command == ["ps"] else 2)
                shown = capsys.readouterr()
                assert shown.out == ""  # not that there is no session
                message = "bigmachine: session stopped does not answer: its program is stopped"
                assert message in shown.err
        finally:
            os.unlink(stopped.getsockname())


def fill(address: str, clients: contextlib.ExitStack) -> None:
    """Connect until no more can."""
    with contextlib.suppress(BlockingIOError):
        while True:
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect(address)


def test_ps_options_require_exactly_one_named_system(resources, live_driver, tmp_path, capsys):
    resources.add_session(NAME, live_driver)
    (tmp_path / "empty").mkdir()
    assert main(["ps", "shelf", "-o", f"folder={tmp_path / 'empty'}"]) == 0
    assert "No session" in capsys.readouterr().out
    (tmp_path / "bigmachine.toml").write_text("[profiles.other.shelf]\nfolder = 'empty'\n")
    assert main(["ps", "shelf", "-o", "folder=empty", "--profile", "other"]) == 0
    assert "No session" in capsys.readouterr().out
    assert main(["ps", "shelf", "-o", "fodler=empty"]) == 2
    assert "did you mean 'folder'?" in capsys.readouterr().err
    assert main(["ps", "-o", "folder=empty"]) == 2
    assert "-o is an option of one system: name it" in capsys.readouterr().err


def test_ps_suggests_name_for_unknown_system(resources, capsys):
    assert main(["ps", "shlef"]) == 1
    assert "did you mean 'shelf'?" in capsys.readouterr().err


def test_ps_reports_broken_system_and_queries_others(resources, install, capsys):
    install("bent", "[bigmachine.systems]\nbent = not_there:System\n")
    assert main(["ps"]) == 0
    out, err = capsys.readouterr()
    assert "No session" in out
    assert "system 'bent' of bent 1.0 cannot be imported" in err


@pytest.mark.parametrize("days", [0.0003, 0.5, 400])
def test_ps_output_fits_80_columns(resources, remote_driver, days, capsys):
    name = f"{'a' * 24}-0123abcd"
    resources.add_session(name, remote_driver, machines=3, days=days)
    resources.add(
        f"m3.{name}.bigmachine",
        zone="us-east-1a",
        cost="0.0912",
        instance_type="c7i.xlarge",
        market="on-demand",
        state="running",
    )
    main(["ps", "shelf"])
    assert max(map(len, lines(capsys))) <= 80
