"""Shells complete the command line."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import bigmachine as bm
from bigmachine.cli import main
from bigmachine.system._installation import install_command
from bigmachine.testing import InProcessSystem


@pytest.mark.long
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_sessions_systems_and_options(tmp_path: Path):
    command = tmp_path / "bigmachine"
    code = f"#!{sys.executable}\nimport sys\nfrom bigmachine.cli import main\nsys.exit(main())\n"
    command.write_text(code)
    command.chmod(command.stat().st_mode | stat.S_IXUSR)

    lines = ["bigmachine do", "bigmachine top --session ", "bigmachine check l"]
    lines += ["bigmachine run x.py -o maxp"]
    complete = "\n".join(
        f"COMP_LINE='{line}' COMP_POINT={len(line)} COMPREPLY=()\n"
        "_python_argcomplete bigmachine; echo ${COMPREPLY[@]}"
        for line in lines
    )
    with bm.Session(InProcessSystem(), name="shown") as session:
        done = subprocess.run(
            ["bash", "-c", f'eval "$(bigmachine completion bash)"\n{complete}'],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
        name = session.name.removesuffix(".bigmachine")
    assert done.stdout.splitlines() == ["doctor", name, "local", "maxprocs="], done.stderr


def test_missing_argcomplete_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "argcomplete.shell_integration", None)
    assert main(["completion", "bash"]) == 2
    error = f"bigmachine: this needs argcomplete: {install_command('completion')}\n"
    assert capsys.readouterr().err == error
