"""What a caller gets when a method raises; and that the connection stays usable."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from bigmachine.errors import (
    BigmachineError,
    MachineStopped,
    RemoteError,
    RpcError,
    TransportError,
    UsageError,
)
from tests.unit.rpc.wires import Open, Wire, memory, run


class Plain(Exception):
    pass


class Signature(Exception):
    """Its arguments are not its `args`."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


class HoldsLock(Exception):
    def __init__(self, lock: Any) -> None:
        super().__init__("holds a lock")
        self.lock = lock


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Python can't set its attributes."""

    code: int


class Immutable(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("immutable")


class Swapped(Exception):
    """Would be a str after it is unpickled."""

    def __reduce__(self) -> Any:
        return str, ("no exception",)


class Final(BaseException):
    pass


def raise_deep(exc: BaseException) -> None:
    raise exc


class Raises:
    def plain(self) -> None:
        raise_deep(Plain("one", 2))

    def key(self) -> None:
        {}["nothing"]

    def caused(self) -> None:
        try:
            {}["nothing"]
        except KeyError as exc:
            raise Plain("caused") from exc

    def noted(self) -> None:
        exc = Plain("noted")
        exc.add_note("look here")
        raise exc

    def signature(self) -> None:
        raise Signature(5, reason="signature")

    def holding(self) -> None:
        raise HoldsLock(threading.Lock())

    def unprintable(self) -> None:
        raise Unprintable

    def frozen(self) -> None:
        raise Frozen(3)

    def immutable(self) -> None:
        raise Immutable("immutable")

    def swapped(self) -> None:
        raise Swapped

    def group(self) -> None:
        raise ExceptionGroup("several", [Plain("first"), KeyError("second")])

    def stop(self) -> None:
        next(iter([]))

    def async_stop(self) -> None:
        raise StopAsyncIteration

    def exits(self) -> None:
        sys.exit("bye")

    def interrupted(self) -> None:
        raise KeyboardInterrupt

    def final(self) -> None:
        raise Final("final")

    def asyncio_cancelled(self) -> None:
        raise asyncio.CancelledError

    def base_group(self) -> None:
        raise BaseExceptionGroup("several", [Plain("first"), SystemExit(3)])

    def usage(self) -> None:
        raise UsageError("the method's own")

    def transport(self) -> None:
        raise TransportError("to a third machine", addr="https://a:1#b", method="T.m")

    def stopped(self) -> None:
        raise MachineStopped("a third machine", machine="m7")

    def local_class(self) -> None:
        class Local(Exception):
            pass

        raise Local("by value")

    def lock(self) -> Any:
        return threading.Lock()

    def generator_in_a_list(self) -> Any:
        return [(i for i in ())]

    def unloadable(self) -> Any:
        return Unloadable()

    def fine(self, *args: Any) -> str:
        return "fine"


class Unloadable:
    def __reduce__(self) -> Any:
        return _fail_to_load, ()


def _fail_to_load() -> None:
    raise RuntimeError("not here")


def asynchronous(service: object) -> object:
    """The same service with ``async def`` methods."""

    class Asynchronous:
        pass

    def method(name: str) -> Any:
        function = getattr(service, name)

        async def call(self: Any, *args: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return function(*args)

        return call

    for name in dir(service):
        if not name.startswith("_"):
            setattr(Asynchronous, name, method(name))
    return Asynchronous()


@pytest.fixture(params=["def", "async def"])
def service(request: pytest.FixtureRequest) -> object:
    return Raises() if request.param == "def" else asynchronous(Raises())


async def error_of(w: Wire, method: str, *args: Any) -> Exception:
    with pytest.raises(Exception) as error:
        await w.call(method, *args)
    # No exception of a method ends the connection.
    assert await w.call("fine") == "fine"
    return error.value


AS_THEMSELVES: dict[str, type[Exception]] = {
    "plain": Plain,
    "key": KeyError,
    "caused": Plain,
    "noted": Plain,
    "immutable": Immutable,
    "group": ExceptionGroup,
    "signature": Signature,
    "holding": HoldsLock,
    "frozen": Frozen,
    "swapped": Swapped,
    "usage": UsageError,
    "transport": TransportError,
    "stopped": MachineStopped,
}


@pytest.mark.parametrize("method", AS_THEMSELVES)
def test_exception_keeps_its_type_and_has_remote_traceback_as_cause(
    wire: Open, service: object, method: str
) -> None:
    async def main() -> None:
        async with wire(service) as w:
            error = await error_of(w, method)
            assert type(error) is AS_THEMSELVES[method]
            remote = error.__cause__
            assert type(remote) is RemoteError
            assert remote.method == f"S.{method}"
            assert remote.addr == w.connection.addr
            assert not remote.temporary
            assert remote.type_name.endswith(AS_THEMSELVES[method].__name__)
            # The traceback shows the user's method, but not our code that called it.
            assert f"in {method}\n" in remote.traceback
            assert "bigmachine/rpc" not in remote.traceback
            assert remote.traceback in str(remote).replace("\n  ", "\n") + "\n"
            assert f"raised {remote.type_name} on " in str(remote)

    run(main)


def test_exception_keeps_its_contents(wire: Open, service: object) -> None:
    async def main() -> None:
        async with wire(service) as w:
            assert (await error_of(w, "plain")).args == ("one", 2)
            assert (await error_of(w, "noted")).__notes__ == ["look here"]
            caused = (await error_of(w, "caused")).__cause__
            assert isinstance(caused, RemoteError)
            assert "KeyError: 'nothing'" in caused.traceback
            assert "direct cause" in caused.traceback
            assert repr(caused.__context__) == "KeyError('nothing')"
            assert (await error_of(w, "signature")).args == ("5: signature",)
            holding = await error_of(w, "holding")
            assert str(holding) == "holds a lock"
            assert not hasattr(holding, "lock")
            assert "'lock', a _thread.lock, is missing: it could not be" in holding.__notes__[0]
            group = await error_of(w, "group")
            assert isinstance(group, ExceptionGroup)
            assert [type(exc) for exc in group.exceptions] == [Plain, KeyError]
            transport = await error_of(w, "transport")
            assert isinstance(transport, RpcError)
            assert (transport.addr, transport.method) == ("https://a:1#b", "T.m")
            stopped = await error_of(w, "stopped")
            assert isinstance(stopped, MachineStopped)
            assert stopped.machine == "m7"
            local = await error_of(w, "local_class")
            assert type(local).__name__ == "Local"
            assert str(local) == "by value"

    run(main)


AS_REMOTE_ERROR = {
    "unprintable": ("Unprintable", ""),
    "stop": ("StopIteration", ""),
    "async_stop": ("StopAsyncIteration", ""),
    "exits": ("SystemExit", "bye"),
    "interrupted": ("KeyboardInterrupt", ""),
    "final": ("Final", "final"),
    "asyncio_cancelled": ("asyncio.exceptions.CancelledError", ""),
    "base_group": ("BaseExceptionGroup", "several"),
}


@pytest.mark.parametrize("method", AS_REMOTE_ERROR)
def test_exception_that_cannot_be_raised_at_caller_is_remote_error(
    wire: Open, service: object, method: str
) -> None:
    async def main() -> None:
        async with wire(service) as w:
            error = await error_of(w, method)
            if method == "stop" and not isinstance(service, Raises):
                assert isinstance(error, RuntimeError)  # as Python raises it in a coroutine
                return
            if method == "unprintable":
                assert type(error) is Unprintable
                error = error.__cause__  # type: ignore[assignment]
            assert type(error) is RemoteError
            type_name, message = AS_REMOTE_ERROR[method]
            assert error.type_name.endswith(type_name)
            assert message in str(error)
            assert not str(error).splitlines()[0].endswith(": ")
            assert f"in {method}\n" in error.traceback
            assert error.method == f"S.{method}"
            assert not error.temporary

    run(main)


def test_stop_async_iteration_of_method_is_not_end_of_stream(wire: Open) -> None:
    class RaisesStop:
        def items(self) -> Any:
            yield 1
            raise StopAsyncIteration

    async def main() -> None:
        async with wire(RaisesStop()) as w:
            stream = await w.stream("items")
            assert await anext(stream) == 1
            with pytest.raises(RemoteError, match="StopAsyncIteration"):
                await anext(stream)

    run(main)


def test_wrong_arguments_are_type_error(wire: Open) -> None:
    class One:
        def one(self, a: int) -> None: ...
        async def two(self, a: int) -> None: ...
        def fine(self) -> str:
            return "fine"

    async def main() -> None:
        async with wire(One()) as w:
            for method in ("one", "two"):
                error = await error_of(w, method)
                assert type(error) is TypeError
                assert "missing 1 required positional argument" in str(error)

    run(main)


@pytest.mark.parametrize("method", ["lock", "generator_in_a_list"])
def test_error_for_unpicklable_result_names_method(
    wire: Open, service: object, method: str
) -> None:
    async def main() -> None:
        async with wire(service) as w:
            error = await error_of(w, method)
            assert isinstance(error, UsageError)
            assert str(error).startswith(f"S.{method}: result")
            assert "can't be pickled" in str(error)

    run(main)


def test_error_for_result_that_cannot_be_unpickled_names_method(
    wire: Open, service: object
) -> None:
    async def main() -> None:
        async with wire(service) as w:
            error = await error_of(w, "unloadable")
            assert isinstance(error, UsageError)
            assert str(error) == (
                "S.unloadable returned something that can't be unpickled here: not here"
            )

    run(main)


def test_arguments_that_machine_cannot_unpickle_are_usage_error(
    wire: Open, service: object
) -> None:
    async def main() -> None:
        async with wire(service) as w:
            error = await error_of(w, "fine", Unloadable())
            assert isinstance(error, UsageError)
            assert "S.fine: the arguments can't be unpickled on the machine" in str(error)
            assert "not here" in str(error)

    run(main)


def test_module_missing_on_machine_is_named_in_error(tmp_path: Path) -> None:
    # Pickled where the module is; unpickled in a process that lacks it.
    (tmp_path / "only_here.py").write_text("class Value: pass\n")
    pickled = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, only_here\n"
            "from bigmachine.rpc import dumps_whole\n"
            "sys.stdout.buffer.write(dumps_whole(only_here.Value()))\n",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=True,
    ).stdout

    class Loads:
        def fine(self, value: Any) -> None: ...

    async def main() -> None:
        async with memory(Loads()) as w:
            with pytest.raises(UsageError) as error:
                await w.call("fine", Pickled(pickled))
            assert "ModuleNotFoundError: No module named 'only_here'" in str(error.value)
            assert "is their module there?" in str(error.value)

    run(main)


class Pickled:
    """Is sent as a pickle that another process made."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return pickle.loads, (self.data,)


def test_exception_that_caller_cannot_unpickle_is_remote_error(wire: Open) -> None:
    class RaisesMachineOnly(Raises):
        def machine_only(self) -> None:
            class MachineOnly(Exception):
                uses = Unloadable()

            raise MachineOnly

    async def main() -> None:
        async with wire(RaisesMachineOnly()) as w:
            error = await error_of(w, "machine_only")
            assert isinstance(error, RemoteError)
            assert error.type_name.endswith("MachineOnly")
            assert "in machine_only\n" in error.traceback

    run(main)


def test_errors_of_bigmachine_have_no_remote_traceback(wire: Open) -> None:
    async def main() -> None:
        async with wire(Raises()) as w:
            for method in ("nothing", "lock"):
                error = await error_of(w, method)
                assert isinstance(error, BigmachineError)
                assert error.__cause__ is None

    run(main)
