"""A dump of a session: what is in it, and when SIGQUIT writes one."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import bigmachine as bm
from bigmachine.cli import main
from bigmachine.testing import InProcessSystem


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
        assert all(member.isfile() for member in archive)
        return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}


def test_part_of_dump_that_fails_says_why(tmp_path, capsys):
    path = tmp_path / "dump.tar.gz"
    with bm.Session(InProcessSystem()):
        assert main(["dump", "--output", str(path)]) == 0
    found = {name.partition("/")[2]: data.decode() for name, data in contents(path).items()}
    assert found["heap.txt"].startswith("not available: UsageError: no machine of this session")
    assert "machines: none" in found["status.txt"]


def test_file_that_cannot_be_written_is_an_error(tmp_path, capsys):
    path = tmp_path / "missing/dump.tar.gz"
    with bm.Session(InProcessSystem()):
        assert main(["dump", "--output", str(path)]) == 2
    assert capsys.readouterr().err == f"bigmachine: No such file or directory {path}\n"


# -- SIGQUIT --------------------------------------------------------------------------

PROGRAM = """
import faulthandler, glob, os, signal, sys, time
import bigmachine as bm
from bigmachine.session import _quit_signal
from bigmachine.testing import InProcessSystem

def handler():
    with bm.Session(InProcessSystem()):
        return signal.getsignal(signal.SIGQUIT)

mine = lambda *_: None
signal.signal(signal.SIGQUIT, mine)
assert handler() is mine, "the user's handler"
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
assert handler() == signal.SIG_IGN, "it is ignored"
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
faulthandler.register(signal.SIGQUIT)
assert handler() == signal.SIG_DFL, "the handler of faulthandler"
faulthandler.unregister(signal.SIGQUIT)
assert callable(handler())
assert signal.getsignal(signal.SIGQUIT) == signal.SIG_DFL, "as before, once it is closed"

def quit_until(found):
    os.kill(os.getpid(), signal.SIGQUIT)
    while not glob.glob(found):
        time.sleep(0.01)

with bm.Session(InProcessSystem(), name="one"), bm.Session(InProcessSystem(), name="two") as two:
    quit_until("two-*.tar.gz")
    while not glob.glob("one-*.tar.gz") or any(one.is_busy for one in _quit_signal._dumpers):
        time.sleep(0.01)
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGQUIT)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGQUIT
    print("written", flush=True)
    # A loop that hangs: the second one ends the program.
    two._opened.portal.post(lambda: time.sleep(600))
    while True:
        os.kill(os.getpid(), signal.SIGQUIT)
        time.sleep(0.01)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGQUIT"), reason="no SIGQUIT")
def test_sigquit_writes_dump_and_second_one_ends_the_program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "written\n", done.stderr
    assert done.returncode == -signal.SIGQUIT
    for name in ("one", "two"):
        [path] = tmp_path.glob(f"{name}-*.tar.gz")
        assert f"bigmachine: dump: {path}\n" in done.stderr
        assert path.stat().st_mode & 0o777 == 0o600
        assert any(member.endswith("/status.txt") for member in contents(path))
