"""The socket by which other programs of the user find a session: who finds it, and when."""

from __future__ import annotations

import functools
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

import bigmachine as bm
from bigmachine.cli._running import chosen_session, running_sessions
from bigmachine.debug import _socket_folder
from bigmachine.debug._board import StatusBoard
from bigmachine.debug._local_socket import serve_local_socket
from bigmachine.debug._socket_folder import is_own, socket_folder
from bigmachine.errors import UsageError
from bigmachine.testing import InProcessSystem

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no Unix sockets")


class Echo:
    def echo(self, value: int) -> int:
        return value


def names() -> list[str]:
    return [session.name for session in running_sessions()]


@pytest.fixture
def folder(tmp_path_factory, monkeypatch) -> Path:
    """The only place for sockets, short enough for one."""
    monkeypatch.setattr(_socket_folder, "_candidates", lambda: [place / "bigmachine"])
    place = Path(os.environ["XDG_RUNTIME_DIR"], "x")
    place.mkdir(mode=0o700, exist_ok=True)
    yield place / "bigmachine"
    subprocess.run(["rm", "-rf", place], check=True)


def test_session_is_found_as_long_as_it_is_open(folder):
    with bm.Session(InProcessSystem(), name="found") as session:
        short = session.name.removesuffix(".bigmachine")
        assert names() == [short]
        for name in (None, short, session.name, "fou"):
            status = chosen_session(name).status()
            assert (status["name"], status["pid"]) == (session.name, os.getpid())
        assert b"session found-" in chosen_session(None).read("status")
    assert names() == []
    assert list(folder.iterdir()) == []


def test_only_its_user_can_reach_a_socket(folder):
    with bm.Session(InProcessSystem()) as session:
        [one] = running_sessions()
        assert one.path.parent.stat().st_mode & 0o777 == 0o700
        assert one.path.stat().st_mode & 0o777 == 0o600
        assert session.name.startswith(one.name)


def test_socket_of_killed_driver_is_removed_by_whoever_looks(folder):
    program = (
        "import bigmachine as bm, os, signal; from bigmachine.testing import InProcessSystem\n"
        f"from bigmachine.debug import _socket_folder; from pathlib import Path\n"
        f"_socket_folder._candidates = lambda: [Path({str(folder)!r})]\n"
        "with bm.Session(InProcessSystem()) as session:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 1
    assert names() == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file", "in a folder of others"])
def test_folder_that_others_could_change_is_not_used(folder, kind):
    if kind == "open to others":
        folder.mkdir()
        folder.chmod(0o750)
    elif kind == "a link":
        (folder.parent / "other").mkdir(mode=0o700)
        folder.symlink_to(folder.parent / "other")
    elif kind == "a file":
        folder.touch(0o600)
    else:
        folder.mkdir(mode=0o700)
        folder.parent.chmod(0o777)
    assert socket_folder(make=True) is None
    with bm.Session(InProcessSystem()) as session:
        assert session.start(1, services={"Echo": Echo()})[0].call("Echo.echo", 1) == 1
        assert names() == []


def test_folder_is_in_the_first_place_that_can_be_used(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")  # to be ignored
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / ("long" * 30)))
    first, *_, last = _socket_folder._candidates()
    user = os.geteuid()
    assert first == Path(f"/run/user/{user}/bigmachine")
    assert last == Path(f"/tmp/bigmachine-{user}")
    monkeypatch.setattr(_socket_folder, "_candidates", lambda: [tmp_path / ("long" * 30), tmp_path])
    tmp_path.chmod(0o700)
    assert socket_folder() in (tmp_path, None)  # None where pytest's folder is long, too


def test_forked_child_does_not_take_the_socket_away(folder):
    with bm.Session(InProcessSystem()) as session:
        with chosen_session(None).opened("/status.json", timeout=60) as response:
            pid = os.fork()
            if not pid:
                session.shutdown()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            assert response.status == 200
        assert chosen_session(None).status()["name"] == session.name


def test_socket_is_put_back_where_it_is_looked_for(folder, monkeypatch):
    async def main() -> None:
        board = StatusBoard("one", system="none", machines=list, cost=bm.Cost)
        async with trio.open_nursery() as nursery:
            await nursery.start(functools.partial(serve_local_socket, board, session=None))
            assert names() == ["one"]
            (folder / "one.sock").unlink()  # as a logout does
            folder.rmdir()
            assert names() == []
            await trio.sleep(61)
            assert names() == ["one"]
            other = folder.parent / "other"
            monkeypatch.setattr(_socket_folder, "_candidates", lambda: [other])
            await trio.sleep(61)
            assert names() == ["one"]
            assert not (folder / "one.sock").exists()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_session_is_chosen_by_name_and_a_wrong_one_is_explained(folder):
    with pytest.raises(UsageError, match="no session of yours runs on this computer"):
        chosen_session(None)
    with bm.Session(InProcessSystem(), name="train") as one:
        with pytest.raises(UsageError, match=r"no session 'tarin-.*; did you mean 'train-"):
            chosen_session(one.name.replace("train", "tarin"))
        with pytest.raises(UsageError, match=r"no session 'x' .*; there is train-"):
            chosen_session("x")
        with bm.Session(InProcessSystem(), name="train") as other:
            with pytest.raises(UsageError, match="several sessions run: train-"):
                chosen_session(None)
            with pytest.raises(UsageError, match="several sessions begin with 'train'"):
                chosen_session("train")
            assert chosen_session(other.name).status()["name"] == other.name


class Peer:
    """The kernel's answer for a connection of this user's."""

    def __init__(self, user: int) -> None:
        self._user = user

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return struct.pack("3i", 4711, self._user, self._user)


@pytest.mark.skipif(sys.platform != "linux", reason="no SO_PEERCRED")
def test_connections_of_other_users_are_known():
    user = os.geteuid()
    assert [is_own(Peer(each)) for each in (user, user + 1, 0)] == [True, False, True]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert is_own(ours)  # the real answer


def test_socket_of_stopped_program_is_kept(folder):
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(folder / "stopped.sock"))
        stopped.listen()
        assert names() == ["stopped"]
        assert names() == ["stopped"]
