"""Payloads: which buffers are copied, what arrives, and what is refused by name."""

from __future__ import annotations

import functools
import gc
import io
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Any

import numpy as np
import pytest

from bigmachine.errors import UsageError
from bigmachine.rpc._exceptions import CallError
from bigmachine.rpc._frames import (
    INLINE_BYTES,
    MAX_BUFFERS,
    Kind,
    Payload,
    message_frame,
)
from bigmachine.rpc._marshal import check_size, dump_arguments, dump_result, dump_service
from bigmachine.rpc._payload import dumps, loads
from bigmachine.rpc.client._uploads import is_file, is_stream
from bigmachine.rpc.memory._allocation import copy_of
from bigmachine.rpc.transport._decoder import FrameDecoder
from tests.unit.rpc.wires import Open, decoded, run

LARGE = 1 << 20
SMALL = 100


def over_the_wire(payload: Payload) -> Any:
    """Encode and decode a payload, and unpickle what comes out."""
    frame, body = message_frame(Kind.REPLY, 1, payload)
    wire = [frame]
    for piece in body:
        view = memoryview(piece).cast("B")
        for at in range(0, len(view), 1000_00):
            part = view[at : at + 1000_00]
            wire += [len(part).to_bytes(4, "little") + b"\x01\0\0\0\x05" + bytes(7), bytes(part)]
    decoder = FrameDecoder()
    found = list(decoded(decoder, b"".join(wire)))
    assert decoder.is_idle
    return loads(found[0])


def shares(payload: Payload, array: Any) -> bool:
    return any(
        np.shares_memory(np.frombuffer(piece, np.uint8), array)
        for piece in (*payload.chunks, *payload.buffers)
    )


ARRAYS: dict[str, Callable[[int], Any]] = {
    "C order": lambda size: np.arange(size, dtype=np.int32).reshape(-1, 4),
    "Fortran order": lambda size: np.asfortranarray(np.arange(size).reshape(-1, 4)),
    "not contiguous": lambda size: np.arange(4 * size).reshape(-1, 4)[::2, ::2],
    "read-only": lambda size: np.frombuffer(bytes(size), np.uint8),
    "structured": lambda size: np.zeros(size, [("a", "i4"), ("b", "f8")]),
    "of objects": lambda size: np.array([str(i) for i in range(size // 10)], dtype=object),
    "0-d": lambda size: np.array(size),
}


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("kind", ARRAYS)
def test_array_arrives_unchanged(kind: str, size: int) -> None:
    array = ARRAYS[kind](size)
    found = over_the_wire(dumps(array))
    assert found.dtype == array.dtype
    assert (found == array).all()
    assert found.flags.f_contiguous == array.flags.f_contiguous or kind == "not contiguous"
    if kind != "read-only":
        assert found.flags.writeable
        found.flat[0] = found.flat[-1]


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
def test_empty_array_arrives_with_its_shape(shape: tuple[int, ...]) -> None:
    assert over_the_wire(dumps([np.empty(shape), np.ones(LARGE)]))[0].shape == shape


def test_large_buffers_are_sent_without_copy() -> None:
    for kind in ("C order", "Fortran order", "read-only"):
        array = ARRAYS[kind](LARGE)
        assert shares(dumps({"a": [array]}), array), kind
    data = np.arange(LARGE, dtype=np.uint8)
    text = "x" * LARGE
    for value in (pickle.PickleBuffer(data), bytearray(data), data.tobytes()):
        memory = np.frombuffer(value, np.uint8)
        assert shares(dumps((1, value)), memory), type(value)
    # A str shares its memory too, when it is ASCII: CPython has it as UTF-8 already.
    payload = dumps(text)
    assert over_the_wire(payload) == text


def test_signals_are_handled_while_a_large_result_is_copied() -> None:
    handled = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        """Count where Python calls the handlers of signals, and lets other threads run."""
        nonlocal handled
        handled += event == "line"
        return trace if frame.f_code is copy_of.__code__ else None

    size = 64 << 20
    array = np.ones(size, np.uint8)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        payload = dump_result("Service.method", array)
    finally:
        sys.settrace(before)
    assert handled > size >> 20
    [copy] = payload.buffers
    array[:] = 2
    assert bytes(copy) == b"\1" * array.nbytes


def test_small_array_is_sent_inside_pickle() -> None:
    assert dumps(np.ones(SMALL)).buffers == []
    assert dumps([np.ones(SMALL)] * 5).pickle_bytes < INLINE_BYTES


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_and_bytearray_keep_their_type(kind: type, size: int) -> None:
    value = kind(b"ab" * size)
    found = over_the_wire(dumps([value, "é" * size]))
    assert found == [value, "é" * size]
    assert type(found[0]) is kind


def test_pickle_buffer_arrives_with_same_bytes() -> None:
    for source in (b"x" * LARGE, bytearray(LARGE), b"x"):
        found = over_the_wire(dumps(pickle.PickleBuffer(source)))
        assert bytes(found) == bytes(source)


def test_array_sent_twice_in_one_message_arrives_as_one_object() -> None:
    array = np.ones(LARGE)
    first, second = over_the_wire(dumps([array, array]))
    assert first is second


def test_buffers_over_maximum_number_are_sent_inside_pickle() -> None:
    arrays = [np.full(1 << 15, i % 256, np.uint8) for i in range(MAX_BUFFERS + 5)]
    payload = dumps(arrays)
    assert len(payload.buffers) == MAX_BUFFERS
    found = over_the_wire(payload)
    assert [a[-1] for a in found] == [a[-1] for a in arrays]
    assert all(a.flags.writeable for a in found)


def test_service_of_more_large_buffers_than_a_message_may_have_arrives() -> None:
    size = INLINE_BYTES + 1  # which the pickler would not copy to its buffer
    buffers = [pickle.PickleBuffer(bytes([n % 256]) * size) for n in range(MAX_BUFFERS + 1)]
    payload = dumps(dump_service("S", buffers))
    assert len(payload.buffers) == MAX_BUFFERS
    found = over_the_wire(payload).load()
    assert [bytes(each) for each in found] == [bytes(each) for each in buffers]


def test_payload_size_is_total_size_of_its_parts() -> None:
    payload = dumps([np.ones(LARGE, np.uint8), b"x" * LARGE])
    assert 2 * LARGE < payload.size < 2 * LARGE + 1000
    assert LARGE < payload.pickle_bytes < LARGE + 1000


# -- code ----------------------------------------------------------------------


def test_local_function_is_sent_by_value(wire: Open) -> None:
    class Runner:
        def run(self, function: Callable[..., Any], *args: Any) -> Any:
            return function(*args)

    async def main() -> None:
        async with wire(Runner()) as w:
            offset = 5
            assert await w.call("run", lambda x: x + offset, 2) == 7

    run(main)


def test_object_of_main_can_be_unpickled_in_another_process() -> None:
    script = """
import sys
from bigmachine.rpc._payload import dumps
class Point:
    def __init__(self, x): self.x = x
    def twice(self): return scale(self.x)
def scale(x): return FACTOR * x
FACTOR = 2
sys.stdout.buffer.write(b"".join(dumps(Point(21)).chunks))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert pickle.loads(done.stdout).twice() == 42


# -- refusals ------------------------------------------------------------------


class Unpicklable:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me\nand more lines")


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(UsageError) as error:
        dump_arguments("S.m", args, kwargs)
    assert error.value.__cause__ is not None
    return str(error.value)


def test_unpicklable_argument_is_named_in_error() -> None:
    message = refusal(1, threading.Lock())
    assert message.startswith("S.m: argument 1 (a _thread.lock) can't be pickled (")
    assert "cannot pickle '_thread.lock' object" in message
    assert f"key (a {__name__}.Unpicklable) can't be pickled (not me);" in refusal(
        1, key=Unpicklable()
    )


class Connected:
    """Has a part that can't be pickled, and refers to itself."""

    def __init__(self) -> None:
        self.me = self
        self.config = {"db": [1, SlotsOnly()]}


class SlotsOnly:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Ordered(dict):  # type: ignore[type-arg]
    """A dict with an attribute."""


def test_part_that_cannot_be_pickled_is_named_in_error() -> None:
    lock = threading.Lock()
    of_lock = "(a _thread.lock) can't be pickled"
    ordered = Ordered()
    ordered.lock = lock
    local_class = type("Local", (), {"lock": lock, "__module__": "__main__"})
    namespace = {"__name__": "__main__", "lock": lock}
    exec("def uses(): return lock\nclass Pi:\n    def sample(self): return lock", namespace)

    def closure() -> object:
        return lock

    for value, path in (
        ([1, {"deep": (lock,)}], f"argument 0[1]['deep'][0] {of_lock}"),
        (Connected(), f"argument 0.config['db'][1].lock {of_lock}"),
        (Connected().config.get, f"argument 0.__self__['db'][1].lock {of_lock}"),
        (ordered, f"argument 0.lock {of_lock}"),
        ({lock: 1}, f"argument 0: a key of a dict {of_lock}"),
        (functools.partial(print, lock), f"argument 0.args[0] {of_lock}"),
        (HoldsLock(lock), f"argument 0.lock {of_lock}"),
        (local_class(), f"argument 0: Local.lock {of_lock}"),
        (closure, f"the variable lock that {closure.__qualname__}() uses {of_lock}"),
        (namespace["uses"], f"argument 0: the global variable lock that uses() uses {of_lock}"),
        (namespace["Pi"](), f"the global variable lock that Pi.sample() uses {of_lock}"),
        ([(x for x in ())], "(a generator) can't be pickled"),
        ({"a": Future()}, "argument 0['a'] (a concurrent.futures._base.Future) can't be pickled"),
    ):
        assert path in refusal(value), path
    assert refusal({"a": Future()}).endswith("; pass its result()")
    assert "only an argument that is an iterator itself is streamed" in refusal([(x for x in ())])
    with pytest.raises(UsageError) as error:
        dump_service("Pi", Connected())
    assert str(error.value).startswith(f"""services["Pi"].config['db'][1].lock {of_lock}""")
    assert str(error.value).endswith("; make it in setup(), which runs on the machine")


class HoldsLock(Exception):
    def __init__(self, lock: Any) -> None:
        super().__init__("holds a lock")
        self.lock = lock


def test_search_for_unpicklable_part_of_endless_object_ends() -> None:
    class Endless:
        def __getstate__(self) -> Any:
            return {"next": Endless(), "lock": threading.Lock()}

    assert "argument 0.next" in refusal(Endless())


def test_value_that_cannot_be_pickled_is_freed_at_once() -> None:
    class Result(io.StringIO):
        lock = None

    result = Result()
    result.lock = threading.Lock()  # type: ignore[assignment]
    ref = weakref.ref(result)
    gc.disable()
    try:
        with pytest.raises(CallError):
            dump_result("S.m", result)
        del result
        assert ref() is None
    finally:
        gc.enable()


def test_arguments_over_limit_are_refused_before_they_are_sent() -> None:
    size = dump_arguments("S.m", (np.zeros(1 << 20, np.uint8),), {}).size
    check_size("S.m", size, limit_bytes=size)
    with pytest.raises(UsageError, match=r"accepts 1,048,\d+; send them in parts"):
        check_size("S.m", size, limit_bytes=size - 1)


def test_connection_is_usable_after_call_over_limit(wire: Open) -> None:
    class Length:
        def length(self, data: Any) -> int:
            return len(data)

    async def main() -> None:
        async with wire(Length(), limit_bytes=200_000) as w:
            for size in (250_000, 10 << 20):
                with pytest.raises(UsageError, match="accepts 200,000"):
                    await w.call("length", bytearray(size))
            assert await w.call("length", b"x" * 190_000) == 190_000

    run(main)


class Instrument:
    """Has a `read` method but is not a file, like many instruments and config parsers."""

    def read(self) -> float:
        return 1.5


def test_only_iterators_and_files_are_streams() -> None:
    import configparser
    import tempfile
    import unittest.mock

    class Config(dict):
        __getattr__ = dict.__getitem__

    for value in (
        Config(a=1),
        unittest.mock.Mock(),
        Instrument(),
        Instrument,
        configparser.ConfigParser(),
        [1],
        (1,),
        {},
        "x",
        b"x",
        range(3),
    ):
        assert not is_stream(value)
    for value in (iter([]), (x for x in ()), zip([], strict=True), map(str, [])):
        assert is_stream(value)
        assert not is_file(value)
    with tempfile.TemporaryFile() as raw, tempfile.NamedTemporaryFile("w") as wrapped:
        for file in (raw, wrapped, io.BytesIO(), io.StringIO()):
            assert is_stream(file)
            assert is_file(file)


def test_object_with_read_method_is_ordinary_argument(wire: Open) -> None:
    class Reader:
        def use(self, instrument: Instrument) -> float:
            return instrument.read()

    async def main() -> None:
        async with wire(Reader()) as w:
            assert await w.call("use", Instrument()) == 1.5

    run(main)
