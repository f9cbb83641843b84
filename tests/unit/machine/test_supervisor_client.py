"""What the driver can ask of a machine is what the machine's supervisor serves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import trio

from bigmachine.machine.supervisor import _client as _supervisor_client
from bigmachine.machine.supervisor._client import SupervisorClient
from bigmachine.services._names import method_names
from bigmachine.worker._supervisor import Supervisor

PICKLED = ("register", "receive_service")  # functions that return the call
OF_OTHER_MACHINES = {"send_service"}


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if p.name != "self"]


def test_client_has_each_method_of_the_supervisor_and_no_other() -> None:
    served = {*method_names(Supervisor)}
    assert {*method_names(SupervisorClient)} == served - {*PICKLED} - OF_OTHER_MACHINES


def test_supervisor_has_no_method_that_needs_a_thread_or_a_lane() -> None:
    functions = [getattr(Supervisor, name) for name in method_names(Supervisor)]
    assert [
        each.__name__
        for each in functions
        if not (inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each))
    ] == []


@pytest.mark.parametrize("name", method_names(SupervisorClient))
def test_method_of_the_client_calls_that_of_the_supervisor_as_it_is(name: str) -> None:
    theirs = getattr(Supervisor, name)
    assert inspect.signature(getattr(SupervisorClient, name)) == inspect.signature(theirs)
    args = [object() for _ in parameters(theirs)]
    called: list[object] = []

    async def call(method: str, *args: object) -> object:
        await trio.lowlevel.checkpoint()
        called[:] = [method, *args]
        return called

    result = trio.run(getattr(SupervisorClient(call), name), *args)
    assert called == [f"Supervisor.{name}", *args]
    assert result is (None if inspect.signature(theirs).return_annotation == "None" else called)


@pytest.mark.parametrize("name", PICKLED)
def test_pickled_call_has_the_parameters_of_the_supervisors_method(name: str) -> None:
    pickle = getattr(_supervisor_client, name)
    theirs = getattr(Supervisor, name)
    assert [p.name for p in parameters(pickle)] == [p.name for p in parameters(theirs)]
    assert pickle(*[None for _ in parameters(pickle)]).method == f"Supervisor.{name}"
