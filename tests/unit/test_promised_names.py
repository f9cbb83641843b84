"""Names that users' programs and backends rely on: none is lost or renamed, and no default changes.

More may be added. What they do is tested elsewhere.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import bigmachine as bm
from bigmachine.rpc._protocol import PROTOCOL, STATUS_RAISED
from bigmachine.system import System, _entrypoints
from bigmachine.system._hooks import HOOKS, is_async

METHODS = {
    bm.Session: [
        "start(n, *, services=None, environ=None, argv=None, wait=True)",
        "connect(addr)",
        "serve_debug(addr='127.0.0.1:3333')",
        "shutdown()",
    ],
    bm.Machine: [
        "wait(state=State.RUNNING)",
        "with_options(*, timeout=..., retry=...)",
        "call(method, *args, **kwargs)",
        "submit(method, *args, **kwargs)",
        "stream(method, *args, **kwargs)",
        "service(interface, name)",
        "memory()",
        "disk()",
        "load()",
        "cancel()",
        "shutdown()",
    ],
    System: [
        "setup()",
        "start(count, request)",
        "launch(spec)",
        "http_client(identity)",
        "listen(address)",
        "main(serve)",
        "maxprocs()",
        "shutdown()",
        "stop(instance)",
        "keepalive()",
        "keepalive_failed(instance)",
        "notices()",
        "tail(instance)",
        "read(instance, path)",
        "console(instance)",
        "instances()",
        "exit(code)",
        "event(event)",
    ],
}
PROPERTIES = {
    bm.Session: ["machines"],
    bm.Machine: ["addr", "maxprocs", "state", "error", "owned"],
}


def parameters(signature: str) -> dict[str, inspect.Parameter]:
    _, begin, rest = signature.partition("(")
    function: Any = eval(f"lambda {rest.removesuffix(')')}: None", {"State": bm.State})
    assert begin
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize(("cls", "signature"), [(c, s) for c in METHODS for s in METHODS[c]])
def test_method_takes_what_was_promised(cls: type, signature: str) -> None:
    method = getattr(cls, signature.partition("(")[0])
    has = inspect.signature(method).parameters
    for name, promised in parameters(signature).items():
        assert has[name].default == promised.default
        if promised.kind is inspect.Parameter.KEYWORD_ONLY:
            assert has[name].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(("cls", "name"), [(c, n) for c in PROPERTIES for n in PROPERTIES[c]])
def test_property_is_there(cls: type, name: str) -> None:
    assert isinstance(inspect.getattr_static(cls, name), property)


def test_session_is_on_a_system_with_its_options_by_keyword() -> None:
    has = inspect.signature(bm.Session).parameters
    assert next(iter(has)) == "system"
    assert has["name"].default is has["profile"].default is None
    assert has["options"].kind is inspect.Parameter.VAR_KEYWORD


def test_hooks_are_those_of_the_one_system_but_for_the_observers() -> None:
    names = {signature.partition("(")[0] for signature in METHODS[System]} - {"launch"}
    assert names <= set(HOOKS)
    plain = {name for name in HOOKS if not HOOKS[name].bigmachine_spec["firstresult"]}
    assert plain == {"event", "call_started", "call_ended", "spans"}
    assert {name for name in names if is_async(name)} == {
        *("setup", "start", "listen", "shutdown", "stop", "keepalive_failed", "console"),
        "instances",
    }


def test_states_are_ordered() -> None:
    states = bm.State.UNSTARTED, bm.State.STARTING, bm.State.RUNNING, bm.State.STOPPED
    assert [*states] == sorted(bm.State)


def test_names_of_entry_points_capabilities_and_protocol() -> None:
    assert _entrypoints.SYSTEMS == "bigmachine.systems"
    assert _entrypoints.OBSERVERS == "bigmachine.observers"
    assert {*map(str, bm.Capability)} == {"tail", "read", "console", "instances"}
    assert (PROTOCOL, STATUS_RAISED) == ("bigmachine/1", 590)


def test_decorators_are_there() -> None:
    for decorator in (bm.parallel, bm.concurrent, bm.exclusive, bm.hookimpl):
        assert callable(decorator)
