from __future__ import annotations

import json
import sys

import pytest

from bigmachine.cli import main

FANCY = """
from dataclasses import dataclass
from bigmachine.system._options import option
from bigmachine.system import Capability, System

@dataclass(frozen=True, slots=True)
class Options:
    image: str = option(help="The image that machines boot; its architecture must be the driver's own.")
    spot: bool = option(False, help="Whether to ask for spot machines.")
    an_option_with_a_long_name: tuple[str, ...] = option(("a",), help="Some names.")

class Fancy(System):
    '''Machines that are fancy.

    And more.
    '''
    name = "fancy"
    Options = Options
    capabilities = frozenset({Capability.TAIL, Capability.CONSOLE})

    async def start(self, count): ...
    def tail(self, instance): ...
    async def console(self, instance): ...
"""  # noqa: E501
BROKEN = """
from bigmachine.system import System
class Broken(System):
    name = "broken"
    async def start(self, counts): ...
"""


@pytest.fixture
def installed(install) -> None:
    install("fancy-cloud", "[bigmachine.systems]\nfancy = fancy:Fancy", fancy=FANCY)
    install("broken-cloud", "[bigmachine.systems]\nbroken = broken:Broken", broken=BROKEN)
    install("gone-cloud", "[bigmachine.systems]\ngone = nowhere:Termination", version="0.2")


def systems_json(capsys: pytest.CaptureFixture[str]) -> dict:
    assert main(["systems", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_systems_lists_capabilities_and_options(installed, capsys) -> None:
    assert main(["systems"]) == 0
    out = capsys.readouterr().out
    assert out[out.index("fancy ") :].startswith("""\
fancy             fancy-cloud 1.0
  Machines that are fancy.
  capabilities    console, tail
  image           The image that machines boot; its architecture must be the
                  driver's own. (str; required)
                  BIGMACHINE_FANCY_IMAGE
  spot            Whether to ask for spot machines. (bool; default False)
                  BIGMACHINE_FANCY_SPOT
  an_option_with_a_long_name
                  Some names. (list of str; default ('a',))
                  BIGMACHINE_FANCY_AN_OPTION_WITH_A_LONG_NAME

""")
    assert all(len(line) <= 80 for line in out.splitlines())


def test_systems_shows_broken_system_with_reason_beside_others(installed, capsys) -> None:
    assert main(["systems"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "broken broken-cloud 1.0 BROKEN: system 'broken'" in out
    assert "hook 'start' has no argument 'counts'" in out
    assert "gone gone-cloud 0.2 BROKEN: system 'gone' of gone-cloud 0.2 cannot be imported" in out
    assert "fancy fancy-cloud 1.0 Machines" in out


def test_systems_lists_packages_that_pip_can_install(tmp_path, capsys, monkeypatch) -> None:
    main(["systems"])
    assert "Not installed" not in capsys.readouterr().out
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # without distributions
    main(["systems"])
    assert capsys.readouterr().out.splitlines() == [
        "Not installed:",
        '  local           pip install "bigmachine[local]"',
        '  ec2             pip install "bigmachine[ec2]"',
        '  gcp             pip install "bigmachine[gcp]"',
        '  azure           pip install "bigmachine[azure]"',
    ]
    main(["systems", "--json"])
    assert json.loads(capsys.readouterr().out)["available"] == {
        "local": 'pip install "bigmachine[local]"',
        "ec2": 'pip install "bigmachine[ec2]"',
        "gcp": 'pip install "bigmachine[gcp]"',
        "azure": 'pip install "bigmachine[azure]"',
    }


def test_systems_json_has_same_content(installed, capsys) -> None:
    found = systems_json(capsys)
    systems = {system["name"]: system for system in found["systems"]}
    fancy = systems["fancy"]
    assert (fancy["dist"], fancy["version"], fancy["broken"]) == ("fancy-cloud", "1.0", None)
    assert fancy["entry_point"] == "fancy:Fancy"
    assert fancy["capabilities"] == ["console", "tail"]
    assert fancy["options"][1] == {
        "name": "spot",
        "type": "bool",
        "default": False,
        "required": False,
        "help": "Whether to ask for spot machines.",
        "env": "BIGMACHINE_FANCY_SPOT",
    }
    assert "nowhere" in systems["gone"]["broken"]
    assert found["available"] == {}


def test_systems_shows_duplicate_name_as_broken(install, capsys) -> None:
    install("one", "[bigmachine.systems]\nfancy = fancy:Fancy", fancy=FANCY)
    install("two", "[bigmachine.systems]\nfancy = fancy:Fancy")
    systems = [system for system in systems_json(capsys)["systems"] if system["name"] == "fancy"]
    assert {system["dist"] for system in systems} == {"one", "two"}
    assert all("provided by" in system["broken"] for system in systems)


def test_one_system_is_shown_if_it_is_named(installed, capsys) -> None:
    assert main(["systems", "fancy"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("fancy ")
    assert "broken" not in out
    assert "Not installed" not in out
    assert main(["systems", "fanci"]) == 2
    assert "no system 'fanci' is installed; did you mean 'fancy'?" in capsys.readouterr().err
