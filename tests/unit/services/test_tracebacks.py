"""What users see of errors: their own lines, here and on machines."""

from __future__ import annotations

import linecache
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import bigmachine as bm
import bigmachine_local
from bigmachine.rpc import PickledService, load_service
from bigmachine.services import _tracebacks
from bigmachine.services._tracebacks import format_traceback, user_frames, with_source_lines

PACKAGE = os.path.dirname(bm.__file__) + os.sep  # a clone may be called bigmachine, too

CELL = """
def fail(x):
    try:
        {}[x]
    except KeyError as exc:
        raise ValueError(x) from exc

def fail_all(x):
    raise ExceptionGroup("many", [ValueError(x)])
"""


@pytest.fixture
def cell() -> dict[str, Any]:
    """The functions of a notebook's cell, of which a machine has no source."""
    namespace: dict[str, Any] = {}
    exec(compile(CELL, "<cell 1>", "exec"), namespace)
    return namespace


def error_of(function: Callable[..., Any], *args: Any) -> BaseException:
    try:
        function(*args)
    except BaseException as exc:
        return exc
    raise AssertionError


def test_driver_adds_source_lines_that_machine_lacks(
    cell: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = format_traceback(error_of(cell["fail"], "key"))
    group = format_traceback(error_of(cell["fail_all"], "key"))
    assert "{}[x]" not in one
    assert with_source_lines(one) == one
    lines = CELL.splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, "<cell 1>", (len(CELL), None, lines, "<cell 1>"))
    completed = with_source_lines(one)
    assert '  File "<cell 1>", line 4, in fail\n    {}[x]\n' in completed
    assert '  File "<cell 1>", line 6, in fail\n    raise ValueError(x) from exc\n' in completed
    assert '\n  |     raise ExceptionGroup("many", [ValueError(x)])\n' in with_source_lines(group)
    assert with_source_lines(completed) == completed  # each line once


def test_machine_leaves_out_frames_of_its_own() -> None:
    text = format_traceback(error_of(load_service, "S", PickledService([b"no pickle"])))
    assert "UnpicklingError" in text
    assert "service 'S' can't be made" in text
    files = {line.split('"')[1] for line in text.splitlines() if line.startswith("  File")}
    assert files == {__file__}


class Fails:
    def fail(self) -> None:
        raise LookupError("not there")

    def lock(self) -> Any:
        return threading.Lock()

    def items(self) -> Iterator[int]:
        yield 1
        raise LookupError("not there")

    def consume(self, items: Iterator[Any]) -> None:
        list(items)


class FailsToStart:
    def setup(self, session: bm.PeerSession) -> None:
        raise LookupError("not there")


def broken() -> Iterator[int]:
    yield 1
    raise ZeroDivisionError("mine")


@pytest.fixture(scope="module")
def session() -> Iterator[bm.Session]:
    with bm.Session("local") as session:
        yield session


@pytest.fixture(scope="module")
def machine(session: bm.Session) -> bm.Machine:
    return session.start(1, services={"F": Fails()})[0]


def check_short(function: Callable[[], Any]) -> BaseException:
    """Fail if the traceback shows more than the caller and code of the user's."""
    exc = error_of(function)
    found: BaseException | None = exc
    while found is not None:
        frames = traceback.extract_tb(found.__traceback__)
        ours = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
        others = [frame for frame in frames if "/site-packages/" in frame.filename]
        assert ours == []
        assert others == []
        found = found.__cause__
    return exc


def test_tracebacks_of_calls_show_lines_of_user(session: bm.Session, machine: bm.Machine) -> None:
    check_short(lambda: machine.call("F.fail"))
    check_short(lambda: machine.submit("F.fail").result())
    check_short(lambda: machine.service(Fails, "F").fail())
    check_short(lambda: list(machine.stream("F.items")))
    check_short(lambda: machine.call("F.lock"))
    check_short(lambda: machine.call("F.nothing"))
    check_short(lambda: machine.call("F.fail", threading.Lock()))
    check_short(lambda: machine.submit("F.fail", threading.Lock()).result())
    exc = check_short(lambda: machine.call("F.consume", broken()))
    assert traceback.extract_tb(exc.__traceback__)[-1].name == "broken"


def test_tracebacks_of_sessions_show_lines_of_user(session: bm.Session) -> None:
    services = {"F": Fails()}
    check_short(lambda: bm.Session("nothing"))
    check_short(lambda: bm.Session("local", nothing=1))
    check_short(lambda: bm.Session("local", maxprocs=0).start(1, services=services))
    check_short(lambda: session.start(0, services=services))
    check_short(lambda: session.start(1, services={"L": threading.Lock()}))
    check_short(lambda: session.connect("nothing"))
    check_short(lambda: session.connect(f"https://127.0.0.1:1#m9.{session.name}"))
    exc = check_short(lambda: session.start(1, services={"F": FailsToStart()}))
    assert "in setup\n" in str(exc.__cause__)
    assert "site-packages" not in str(exc.__cause__)


def test_frames_of_backend_installed_in_place_are_no_users() -> None:
    backend, mine = bigmachine_local.__file__, f"{os.path.dirname(PACKAGE[:-1])}_mine.py"
    assert "/site-packages/" not in backend  # here, it is
    assert user_frames([(backend, "main"), (PACKAGE + "a.py", "run"), (mine, "f")]) == ["f"]


def test_tracebacks_are_whole_if_logger_is_at_debug(
    machine: bm.Machine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "bigmachine"):
        exc = error_of(lambda: machine.call("F.fail"))
    assert any("/bigmachine/machine/" in frame.filename for frame in extracted(exc))


def test_traceback_of_internal_error_is_whole(
    machine: bm.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault() -> None:
        raise AssertionError("a fault of ours")

    # As if it were one of our files.
    monkeypatch.setattr(_tracebacks, "_OURS", __file__)
    exc = error_of(fault)
    _tracebacks.shorten_traceback(exc)
    assert extracted(exc)[-1].name == "fault"


def extracted(exc: BaseException) -> list[traceback.FrameSummary]:
    return [*traceback.extract_tb(exc.__traceback__)]
