"""``bigmachine run``: a program gets its system, its options and its arguments."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import bigmachine as bm
from bigmachine.cli import main
from bigmachine.errors import UnknownSystemError

PROGRAM = """
import json, os, sys
import bigmachine as bm
session, named = bm.Session(), bm.Session("local", maxprocs=1)
print(json.dumps([session.system.name, session.system.options.maxprocs, sys.argv[1:], __name__,
                  os.environ["BIGMACHINE_SYSTEM"], named.system.options.maxprocs]))
sys.exit(7)
"""


def test_program_gets_system_options_and_arguments_and_its_status_is_kept(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    code = "import sys; from bigmachine.cli import main; sys.exit(main())"
    options = ["--system", "local", "-o", "maxprocs=3", "--", "--epochs", "3", "--", "-o"]
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "program.py", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7, done.stderr
    arguments = ["--epochs", "3", "--", "-o"]
    assert json.loads(done.stdout) == ["local", 3, arguments, "__main__", "local", 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--system", "locl"], "no system 'locl' is installed"),
        (["-o", "maxprocz=3"], "did you mean 'maxprocs'?"),
        (["-o", "maxprocs"], "'maxprocs' is not an option; write it as key=value"),
        ([], "there is no program 'missing.py'"),
    ],
)
def test_mistake_is_an_error_before_the_program_runs(capsys, arguments, message):
    assert main(["run", "missing.py", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_unknown_argument_says_where_those_of_the_program_go(capsys):
    with pytest.raises(SystemExit):
        main(["run", "train.py", "--epochs", "3"])
    assert "--epochs 3; write the program's own arguments after --" in capsys.readouterr().err


def test_session_without_system_takes_the_one_of_the_environment(resources, monkeypatch):
    monkeypatch.delenv("BIGMACHINE_SYSTEM", raising=False)
    assert bm.Session().system.name == "local"
    monkeypatch.setenv("BIGMACHINE_SYSTEM", "shelf")
    assert bm.Session().system.name == "shelf"
    assert bm.AsyncSession(folder=".").system.options.folder == "."
    assert bm.Session("local").system.name == "local"
    monkeypatch.setenv("BIGMACHINE_SYSTEM", "shlef")
    with pytest.raises(UnknownSystemError, match="^BIGMACHINE_SYSTEM: no system 'shlef'"):
        bm.Session()
