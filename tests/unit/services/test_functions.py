"""A service's method is found by its function."""

from __future__ import annotations

import functools
from typing import Any

import pytest

import bigmachine as bm
from bigmachine.services._functions import interface_of, name_of
from bigmachine.services._stub import make_stub


class PI:
    def sample(self, n: int) -> int:
        return n

    @classmethod
    def made(cls) -> None: ...

    @staticmethod
    def static() -> None: ...

    @bm.parallel
    def in_process(self, n: int) -> int:
        return n

    @functools.wraps(sample)
    def wrapped(self, *args: Any) -> None: ...

    alias = sample

    def setup(self, session: object) -> None: ...
    def _private(self) -> None: ...


class Better(PI):
    def sample(self, n: int) -> int:
        return n + 1


class Other:
    def sample(self, n: int) -> int:
        return n


def function(n: int) -> int:
    return n


def find(function: Any, **services: object) -> str:
    interfaces = {name: interface_of(service) for name, service in services.items()}
    return name_of(function, interfaces, machine="m0")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (PI.sample, "sample"),
        (PI.alias, "sample"),
        (PI.made, "made"),
        (PI.static, "static"),
        (PI.in_process, "in_process"),
        (PI.wrapped, "wrapped"),
        (PI().made, "made"),
        (PI().in_process, "in_process"),
    ],
)
def test_method_of_any_kind_is_found(function, name):
    assert find(function, A=PI(), B=Other()) == f"A.{name}"


def test_inherited_and_overridden_method_is_found_in_subclass():
    assert find(PI.in_process, B=Better()) == "B.in_process"
    assert find(Better.sample, B=Better(), O=Other()) == "B.sample"
    assert find(Better().sample, B=Better(), O=Other()) == "B.sample"
    assert find(Other.sample, B=Better(), O=Other()) == "O.sample"


def test_function_that_is_service_itself_is_found():
    assert find(function, f=function, A=PI()) == "f"
    assert find(len, f=function, n=len) == "n"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Other.sample, 'Other.sample is not a method of any service of m0; .* in: "A.sample"$'),
        (PI._private, 'PI._private is not a method .* as in: "A.alias", "A.in_process",'),
        (PI.setup, "PI.setup is not a method"),
        (PI, "PI is not a method of any service"),
        (lambda: 0, "<lambda> is not a method"),
        (functools.partial(PI.static), r"functools.partial\(.* is not a method"),
    ],
)
def test_function_of_no_service_is_refused_with_names_to_write(function, message):
    with pytest.raises(bm.UsageError, match=message):
        find(function, A=PI())


def test_callable_objects_are_among_names_to_write():
    with pytest.raises(bm.UsageError, match='as in: "p", "f", "A.alias"'):
        find(len, p=functools.partial(function), f=function, A=PI())


def test_function_of_several_services_is_refused_with_their_names():
    with pytest.raises(
        bm.UsageError, match='several services of m0; .* one of: "A.made", "B.made"'
    ):
        find(PI.made, A=PI(), B=Better())


def test_function_for_machine_with_unknown_services_is_refused():
    with pytest.raises(bm.UsageError, match='services of m0 are not known here.* "Service.method"'):
        name_of(PI.made, None, machine="m0")


def test_method_of_a_stub_is_called_by_its_name():
    def call(name: str, *args: object) -> object:
        raise AssertionError

    stub = make_stub(PI, "A", call=call, stream=call)
    assert find(stub.sample, A=PI(), B=PI()) == "A.sample"
    assert name_of(stub.sample, None, machine="m0") == "A.sample"
