"""The command, the variables and the header of the Python processes that bigmachine starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bigmachine as bm
from bigmachine.process import module_path, pack, python_command, python_environ, start_command


@pytest.mark.parametrize(
    ("executable", "message"),
    [
        ("", "sys.executable is ''"),
        (None, "sys.executable is None"),
        (b"/usr/bin/python3", "the interpreter is unknown"),
        ("/no/such/python", "can't be run"),
        (os.path.dirname(os.__file__), "can't be run"),
        ("/bin/sh", "no Python interpreter"),
    ],
)
def test_program_without_interpreter_is_usage_error(monkeypatch, executable, message):
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(bm.UsageError, match=message):
        python_command()


def test_session_in_frozen_application_starts_nothing(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)

    def starts_process(*_):
        raise AssertionError("a process was started")

    monkeypatch.setattr(os, "fork", starts_process)
    monkeypatch.setattr(subprocess, "Popen", starts_process)
    for fork in (None, False):
        with pytest.raises(bm.UsageError, match="frozen application"):
            bm.Session("local", fork=fork).start(1, services={"Service": object()})


def test_application_started_as_interpreter_can_open_no_session(monkeypatch):
    """So an application in place of the interpreter starts itself once at most."""
    environ = python_environ()
    monkeypatch.setattr(os, "environ", environ)
    with pytest.raises(bm.UsageError, match=f"by process {os.getpid()} in place of a Python"):
        bm.Session("local").start(1, services={"Service": object()})


def test_interpreter_may_be_relative_or_have_another_name(monkeypatch, tmp_path):
    (tmp_path / "mayapy").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", "./mayapy")
    assert python_command()[0] == str(tmp_path / "mayapy")


FLAGS = ["-O", "-B", "-bb", "-u", "-X", "dev", "-X", "utf8", "-X", "faulthandler", "-W", "error::A"]
MORE_FLAGS = (["-I"], ["-S", "-OO"], ["-E", "-s"])
SHOW = (
    "import json, sys; names = [n for n in dir(sys.flags) if n[0] != '_' and not n.startswith('n_')"
    " and n not in ('count', 'index', 'safe_path')]; print(json.dumps([{n: getattr(sys.flags, n) "
    "for n in names}, sys._xoptions, sorted(set(sys.warnoptions)), sys.stdout.write_through]))"
)


@pytest.mark.parametrize(
    "flags",
    [FLAGS, *(pytest.param(more, marks=pytest.mark.long) for more in MORE_FLAGS)],
    ids=" ".join,
)
def test_process_has_flags_of_its_parent(flags):
    source = str(Path(bm.__file__).parents[1])
    program = (
        f"import sys; sys.path.append({source!r}); from bigmachine.process import python_command\n"
        f"{SHOW}\nimport subprocess; subprocess.run(python_command('-c', {SHOW!r}))"
    )
    command = [sys.executable, *flags, "-c", program]
    parent, child = subprocess.check_output(command, text=True).splitlines()
    assert json.loads(child) == json.loads(parent)


def test_relative_entries_of_pythonpath_are_kept_from_interpreter():
    environ = python_environ({"PYTHONPATH": os.pathsep.join(["", "here", "/there"])})
    assert environ["PYTHONPATH"] == "/there"


def test_header_says_which_folders_are_relative(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/a", b"/b", None, 5, "c"])
    here = [str(tmp_path), str(tmp_path / "c")]
    assert module_path() == {"path": [here[0], "/a", here[1]], "relative": here}


STARTED = """
import json, os, signal, sys
def main(header, *arguments):
    print(json.dumps({
        "arguments": arguments,
        "argv": header["argv"],
        "path": sys.path,
        "variable": os.environ.get("PYTHONPATH"),
        "ours": [name for name in os.environ if name.startswith("BIGMACHINE_")],
        "ignored": [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN],
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "rest": os.read(0, 100).decode(),
        "open": [os.path.exists(f"/proc/self/fd/{n}") for n in range(3)],
    }))
"""


def test_started_process_is_not_affected_by_state_of_its_parent(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere/started.py").write_text(STARTED)
    for name in ("json", "importlib", "signal", "started", "sitecustomize"):
        (tmp_path / f"here/{name}.py").write_text("raise SystemExit('from the current folder')")
    long = "x" * 300_000
    header = {
        "path": [str(tmp_path / "here"), str(tmp_path / "elsewhere"), "/\udcff", "/" + long],
        "relative": [str(tmp_path / "here")],
        "argv": [long, "\udcff", "\n"],
    }

    def break_state():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(2)

    environ = {name: os.environ[name] for name in os.environ if not name.startswith("BIGMACHINE_")}
    run = subprocess.run(
        [*start_command("started:main", 0), "one", "two"],
        input=pack(header) + b"what follows",
        cwd=tmp_path / "here",
        env=python_environ({**environ, "PYTHONPATH": ":here"}),
        preexec_fn=break_state,
        stdout=subprocess.PIPE,
    )
    state = json.loads(run.stdout)
    assert state["path"][:3] == header["path"][1:]
    del state["path"]
    assert state == {
        "arguments": ["one", "two"],
        "argv": header["argv"],
        "variable": ":here",
        "ours": [],
        "ignored": [signal.SIGPIPE, signal.SIGXFSZ],
        "blocked": 0,
        "rest": "what follows",
        "open": [True, True, True],
    }
