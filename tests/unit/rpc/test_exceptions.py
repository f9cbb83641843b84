"""Exceptions arrive as they were raised, without a call of their ``__init__``."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from bigmachine.errors import RemoteError, UsageError
from bigmachine.rpc import dumps_whole
from bigmachine.rpc._exception_graph import put_together
from bigmachine.rpc._exceptions import CallError, dump_exception, load_exception
from bigmachine.rpc._frames import Frame, Kind
from bigmachine.rpc._marshal import dump_arguments, dump_result, load_arguments, load_result
from bigmachine.rpc._payload import dumps
from tests.unit.rpc.other_side import OtherSide

made = 0


class HttpError(Exception):
    def __init__(self, code: int, text: str) -> None:
        global made
        made += 1
        super().__init__(f"{code}: {text}")
        self.code = code


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class Slots(Exception):
    __slots__ = ("__private", "code")

    def __init__(self, code: int) -> None:
        self.code = code
        self.__private = -code

    def private(self) -> int:
        return self.__private


class New(Exception):
    def __new__(cls, code: int, text: str) -> New:
        self = super().__new__(cls, text)
        self.code = code
        return self


class NotFound(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "not there", path)


class Undecodable(UnicodeDecodeError):
    def __init__(self, reason: str) -> None:
        super().__init__("utf-8", b"abc", 0, 1, reason)


class WithoutSuper(UnicodeDecodeError):
    def __init__(self, reason: str) -> None:
        self.reason_given = reason

    def __str__(self) -> str:
        return self.reason_given


class TwoBases(ValueError, OSError):
    def __init__(self, code: int, **more: Any) -> None:
        super().__init__(code)
        self.more = more


class Lies(Exception):
    def __reduce__(self) -> Any:
        return str, ("no exception",)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Hidden(Exception):
    """Hides what it is made of."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("args", "__dict__"):
            raise RuntimeError("hidden")
        return super().__getattribute__(name)


class Errors(ExceptionGroup):
    def __new__(cls, code: int, errors: list[Exception]) -> Errors:
        self = super().__new__(cls, f"code {code}", errors)
        self.code = code
        return self

    def __init__(self, code: int, errors: list[Exception]) -> None:
        super().__init__(f"code {code}", errors)


class Holds(Exception):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lock = threading.Lock()
        self.code = 7


def error_of(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as exc:
        return exc
    raise AssertionError


def noted() -> None:
    exc = HttpError(1, "noted")
    exc.add_note("a note")
    raise exc


def import_error() -> None:
    import tests.nothing.at_all  # noqa: F401


def loaded(exc: BaseException) -> Exception:
    """Return what a caller gets if a method raises ``exc``."""
    payload = dump_exception(exc)
    frame = Frame(Kind.ERROR, 1, 0, "", b"".join(payload.chunks), payload.buffers, payload.size)
    return load_exception(frame, addr="https://h:1#m0", method="S.m", machine="m0")


RAISED: dict[str, Callable[[], BaseException]] = {
    "other arguments than its args": lambda: HttpError(404, "gone"),
    "keyword-only arguments": lambda: KeywordOnly(code=3),
    "slots": lambda: Slots(1),
    "its own __new__": lambda: New(1, "new"),
    "an OSError's": lambda: NotFound("/x"),
    "a UnicodeError's": lambda: Undecodable("odd"),
    "a base that it did not call": lambda: WithoutSuper("odd"),
    "two bases": lambda: TwoBases(1, a=2),
    "a __reduce__ that lies": lambda: Lies(1, "two"),
    "a frozen dataclass": lambda: Frozen(3),
    "of stat()": lambda: error_of(lambda: os.stat("/does/not/exist")),
    "of rename": lambda: OSError(1, "no", "from", None, "to"),
    "of a pipe": lambda: BlockingIOError(11, "again", 5),
    "of decode()": lambda: error_of(b"\xff".decode),
    "of encode()": lambda: error_of(lambda: "é".encode("ascii")),
    "of a dict": lambda: error_of(lambda: {}["key"]),
    "of an attribute": lambda: error_of(lambda: object().missing),  # type: ignore[attr-defined]
    "of a name": lambda: error_of(lambda: missing),  # type: ignore[name-defined] # noqa: F821
    "of an import": lambda: error_of(import_error),
    "of compile()": lambda: error_of(lambda: compile("a b", "f.py", "exec")),
    "of json": lambda: error_of(lambda: json.loads("{")),
    "of subprocess": lambda: subprocess.CalledProcessError(3, ["ls"], b"out"),
    "with a note": lambda: error_of(noted),
}
ATTRIBUTES = {
    OSError: ("errno", "strerror", "filename", "filename2"),
    UnicodeError: ("encoding", "object", "start", "end", "reason"),
    ImportError: ("name", "path", "msg"),
    SyntaxError: ("msg", "filename", "lineno", "offset", "text", "end_lineno"),
    AttributeError: ("name",),
    NameError: ("name",),
    Slots: ("code", "_Slots__private"),
}


@pytest.mark.parametrize("what", RAISED)
def test_exception_arrives_equal_to_what_was_raised(what: str) -> None:
    raised = RAISED[what]()
    count = made
    found = loaded(raised)
    assert made == count, "its __init__ was called"
    assert type(found) is type(raised)
    assert isinstance(found.__cause__, RemoteError)
    assert (str(found), found.args, vars(found)) == (str(raised), raised.args, vars(raised))
    for kind, names in ATTRIBUTES.items():
        if isinstance(raised, kind):
            for name in names:
                assert getattr(found, name, None) == getattr(raised, name, None), name


def test_exception_that_hides_its_contents_arrives() -> None:
    found = loaded(Hidden("hidden"))
    assert type(found) is Hidden
    assert BaseException.args.__get__(found) == ("hidden",)  # type: ignore[attr-defined]


def test_object_whose_attribute_is_missing_is_not_sent() -> None:
    exc = AttributeError("no x", name="x", obj=bytearray(1 << 20))
    assert dump_exception(exc).size < 10_000
    assert loaded(exc).name == "x"  # type: ignore[attr-defined]


def test_group_arrives_with_all_its_members() -> None:
    inner = ExceptionGroup("inner", [Holds("held"), KeyError("key")])
    found = loaded(Errors(5, [ValueError("first"), HttpError(404, "gone"), inner]))
    assert isinstance(found, Errors)
    assert (found.message, found.code) == ("code 5", 5)
    first, http, again = found.exceptions
    assert repr(first) == "ValueError('first')"
    assert isinstance(http, HttpError)
    assert http.code == 404
    assert isinstance(again, ExceptionGroup)
    held, key = again.exceptions
    assert repr(key) == "KeyError('key')"
    assert "'lock'" in held.__notes__[0]


class Unloadable:
    def __init__(self, text: str = "unloadable") -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def __reduce__(self) -> Any:
        return _fail_to_load, ()


def _fail_to_load() -> None:
    raise RuntimeError("not here")


def test_what_cannot_be_sent_is_left_out_and_named_in_note() -> None:
    lock = threading.Lock()
    exc = Holds("text", lock, Unloadable())
    exc.loads_badly = Unloadable()  # type: ignore[attr-defined]
    found = loaded(exc)
    assert type(found) is Holds
    assert found.args == ("text", repr(lock), f"<{__name__}.Unloadable>")
    assert (found.code, hasattr(found, "lock")) == (7, False)
    assert found.__notes__ == [
        "(bigmachine: argument 1, a _thread.lock, is missing: it could not be pickled)",
        f"(bigmachine: argument 2, a {__name__}.Unloadable, is missing: "
        "it could not be unpickled here (not here))",
        "(bigmachine: attribute 'lock', a _thread.lock, is missing: it could not be pickled)",
        f"(bigmachine: attribute 'loads_badly', a {__name__}.Unloadable, is missing: "
        "it could not be unpickled here (not here))",
    ]


class Exits:
    """Its author ends the process wherever it should not be."""

    def __init__(self, *, at_load: bool) -> None:
        self.at_load = at_load

    def __repr__(self) -> str:
        raise SystemExit("shown")

    def __reduce__(self) -> Any:
        if self.at_load:
            return _exit, ()
        raise SystemExit("pickled")


def _exit() -> None:
    raise SystemExit("loaded")


class ExitsAsText(Exception):
    def __str__(self) -> str:
        raise SystemExit("text")


def test_system_exit_of_a_part_costs_only_that_part() -> None:
    exc = ValueError("text", Exits(at_load=False))
    exc.loads_badly = Exits(at_load=True)  # type: ignore[attr-defined]
    exc.__cause__ = ExitsAsText()
    found = loaded(exc)
    assert type(found) is ValueError
    assert found.args == ("text", f"<{__name__}.Exits>")
    assert found.__notes__ == [
        f"(bigmachine: argument 1, a {__name__}.Exits, is missing: it could not be pickled)",
        f"(bigmachine: attribute 'loads_badly', a {__name__}.Exits, is missing: "
        "it could not be unpickled here (loaded))",
    ]


def test_system_exit_of_argument_or_result_is_error_that_names_it() -> None:
    with pytest.raises(UsageError, match=r"f: argument 0\[1\] \(a .*Exits\) can't be pickled"):
        dump_arguments("f", [[1, Exits(at_load=False)]], {})
    with pytest.raises(CallError, match=r"f: result \(a .*Exits\) can't be pickled \(pickled\)"):
        dump_result("f", Exits(at_load=False))
    pickled = dumps_whole(Exits(at_load=True))
    frame = Frame(Kind.REPLY, 1, 0, "f", pickled, [], len(pickled))
    with pytest.raises(UsageError, match="can't be unpickled here: loaded"):
        load_result("f", frame)
    with pytest.raises(CallError, match=r"can't be unpickled on the machine \(SystemExit: loaded"):
        load_arguments(frame)


def unloadable_class() -> type[Exception]:
    class MachineOnly(Exception):
        uses = Unloadable()

    return MachineOnly


def test_member_or_cause_of_unknown_class_is_replaced_by_remote_error() -> None:
    kind = unloadable_class()
    exc = ExceptionGroup("two", [ValueError("first"), kind("second")])
    exc.__context__ = kind("before")
    found = loaded(exc)
    assert isinstance(found, ExceptionGroup)
    first, second = found.exceptions
    assert repr(first) == "ValueError('first')"
    assert isinstance(second, RemoteError)
    assert str(second).endswith("MachineOnly: second")
    assert str(found.__context__).endswith("MachineOnly: before")


def test_causes_and_contexts_arrive() -> None:
    def chain() -> None:
        try:
            try:
                {}["key"]
            except KeyError:
                raise HttpError(1, "context")  # noqa: B904
        except HttpError as exc:
            raise ValueError("last") from exc

    found = loaded(error_of(chain))
    remote = found.__cause__
    assert isinstance(remote, RemoteError)
    assert "KeyError: 'key'" in remote.traceback
    http = remote.__context__
    assert remote.__suppress_context__, "it would be printed twice"
    assert isinstance(http, HttpError)
    assert repr(http.__context__) == "KeyError('key')"

    group = ExceptionGroup("group", [found])
    [member] = loaded(group).exceptions  # type: ignore[attr-defined]
    assert isinstance(member.__cause__, RemoteError)


def test_endless_and_circular_chains_arrive() -> None:
    exc: Exception = ValueError("first")
    for number in range(3000):
        following = ValueError(number)
        following.__context__ = exc
        exc = following
    assert repr(loaded(exc)) == "ValueError(2999)"

    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    one.itself = one  # type: ignore[attr-defined]
    found = loaded(one)
    assert found.__context__ is not None
    assert found.__context__.__context__ is found


def test_exception_of_script_arrives_as_its_own_class(other_side: OtherSide) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "class Mine(Exception):\n"
        "    def __init__(self, code, *, text):\n"
        "        super().__init__(text)\n"
        "        self.code = code\n",
        namespace,
    )
    mine = namespace["Mine"]
    answer = other_side.evaluate(
        dumps_whole(mine),
        "b''.join(__import__('bigmachine.rpc._exceptions', fromlist=['_'])"
        ".dump_exception(value(3, text='words')).chunks)",
    )
    frame = Frame(Kind.ERROR, 1, 0, "", answer, (), len(answer))
    found = load_exception(frame, addr="", method="S.m", machine="m0")
    assert type(found) is mine
    assert (str(found), found.code) == ("words", 3)  # type: ignore[attr-defined]


def test_exception_as_argument_or_result_keeps_its_contents() -> None:
    exc = HttpError(404, "gone")
    exc.add_note("a note")
    count = made
    back = pickle.loads(dumps_whole([exc, NotFound("/x")]))
    assert made == count
    assert [type(each) for each in back] == [HttpError, NotFound]
    assert (back[0].code, back[0].__notes__) == (404, ["a note"])
    assert back[1].filename == "/x"
    with pytest.raises(TypeError, match="lock"):
        dumps([Holds()])


class LimitError(Exception):
    pass


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
def test_what_a_signal_handler_raises_while_an_error_reply_is_read_is_raised() -> None:
    files = {load_exception.__code__.co_filename, put_together.__code__.co_filename}
    left = 0

    def signal_at_line(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        left -= event == "line"
        if left == 0:
            sys.settrace(None)
            signal.raise_signal(signal.SIGUSR1)
        return signal_at_line

    def limit(number: int, frame: FrameType | None) -> None:
        raise LimitError

    exc = HttpError(404, "not found")
    exc.__cause__ = LookupError(4)
    payload = dump_exception(exc)
    reply = Frame(Kind.ERROR, 1, 0, "", b"".join(payload.chunks), payload.buffers, payload.size)
    before = signal.signal(signal.SIGUSR1, limit)
    try:
        for line in itertools.count(1):
            left = line
            sys.settrace(signal_at_line)
            try:
                found: Exception = load_exception(reply, addr="a", method="S.m", machine="m0")
            except LimitError as exc:
                found = exc
            finally:
                sys.settrace(None)
            if left > 0:
                break
            assert isinstance(found, LimitError), line
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert isinstance(found, HttpError)
    assert line > 50
