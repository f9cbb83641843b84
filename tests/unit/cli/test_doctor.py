"""``bigmachine doctor``: what it finds here and at providers, and which of it is a problem."""

from __future__ import annotations

import json

import pytest

from bigmachine.cli import main
from bigmachine.debug import _socket_folder
from bigmachine.system import _entrypoints

PICKY = """
import bigmachine as bm
from bigmachine.system import CheckedRequest, CheckReport, System, Verdict

class Picky(System):
    name = "picky"
    async def start(self, count): ...
    async def check(self):
        requests = [
            CheckedRequest("make", Verdict.DENIED, "no permission"),
            CheckedRequest("price", Verdict.REFUSED, "none", is_needed=False),
            CheckedRequest("look", Verdict.OK),
        ]
        return CheckReport(requests, advice="Attach this policy:\\n{}")
"""
UNCONFIGURED = PICKY.partition("    async def check")[0]
UNCONFIGURED += "    async def setup(self): raise bm.StartError('there are no credentials')\n"


@pytest.fixture
def picky(install, monkeypatch):
    """Have `picky` be the only installed system; call it with its source."""
    listed = _entrypoints.installed_systems

    def only_picky():
        return [entry for entry in listed() if entry.name in ("picky", "bent")]

    monkeypatch.setattr(_entrypoints, "installed_systems", only_picky)
    return lambda source: install(
        "picky", "[bigmachine.systems]\npicky = picky:Picky", picky=source
    )


def findings(capsys) -> dict[tuple[str, str], tuple[str, str]]:
    found = json.loads(capsys.readouterr().out)
    return {(one["about"], one["name"]): (one["verdict"], one["detail"]) for one in found}


def test_doctor_starts_a_machine_here(capsys):
    assert main(["doctor", "local"]) == 0
    out = capsys.readouterr().out
    assert "\nlocal\n  ok       a machine        it started and answered in " in out
    assert out.endswith("\n\nNo problem.\n")
    assert all(len(line) <= 80 for line in out.splitlines())


def test_what_provider_denies_is_a_problem_with_its_advice(picky, capsys):
    picky(PICKY)
    for arguments in (["doctor"], ["doctor", "picky"]):
        assert main([*arguments, "--json"]) == 1
        found = findings(capsys)
        assert found["picky", "make"] == ("problem", "denied: no permission")
        assert found["picky", "price"] == ("remark", "none")
        assert found["picky", "requests"] == ("ok", "1 of 3 would succeed")
        assert found["picky", "advice"][1].startswith("Attach this policy:")
        assert found["this computer", "Python"][0] == "ok"
    assert main(["doctor", "picky"]) == 1
    out = capsys.readouterr().out
    assert "  problem  make" in out
    assert out.endswith("\n\n1 problem.\n")


def test_system_that_is_not_configured_is_a_problem_only_if_it_was_named(picky, capsys):
    picky(UNCONFIGURED)
    assert main(["doctor", "--json"]) == 0
    assert findings(capsys)["picky", "setup"] == ("remark", "there are no credentials")
    assert main(["doctor", "picky", "--json"]) == 1
    assert findings(capsys)["picky", "setup"] == ("problem", "there are no credentials")


def test_what_is_wrong_on_this_computer_is_found(picky, install, monkeypatch, tmp_path, capsys):
    picky(PICKY)
    install("bent", "[bigmachine.systems]\nbent = not_there:System\n")
    install("bigmachine-gcp", "", version="9.9")
    monkeypatch.setenv("BIGMACHINE_PICKI_SIZE", "1")
    monkeypatch.setattr(_socket_folder, "_candidates", list)
    monkeypatch.setenv("PATH", str(tmp_path))
    main(["doctor", "--json"])
    found = findings(capsys)
    verdict, detail = found["this computer", "systems"]
    assert (verdict, "not_there" in detail) == ("problem", True)
    verdict, detail = found["this computer", "versions"]
    assert verdict == "problem"
    assert "bigmachine-gcp 9.9" in detail
    assert "; they must be of one version: pip install " in detail
    verdict, detail = found["this computer", "settings"]
    assert verdict == "remark"
    assert detail.startswith("BIGMACHINE_PICKI_SIZE is ignored; did you mean BIGMACHINE_PICKY_")
    assert found["this computer", "sockets"][0] == "remark"
    assert found["this computer", "uv"] == (
        "ok",
        "not installed; it is not needed here: machines fetch their own",
    )


def test_broken_settings_file_is_a_problem(picky, monkeypatch, tmp_path, capsys):
    picky(UNCONFIGURED)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bigmachine.toml").write_text("[picky\n")
    assert main(["doctor", "--json"]) == 1
    assert findings(capsys)["this computer", "settings"][0] == "problem"


def test_options_and_names_that_are_wrong_are_usage_errors(picky, capsys):
    picky(PICKY)
    for arguments, message in (
        (["-o", "size=1"], "-o is an option of one system: name it"),
        (["pickle"], "no system 'pickle' is installed"),
        (["picky", "-o", "size=1"], "size"),
    ):
        assert main(["doctor", *arguments]) == 2
        assert message in capsys.readouterr().err
