"""Functions and other callables are services; what can't be one is refused before any start."""

from __future__ import annotations

import functools
import math

import pytest

import bigmachine as bm
from bigmachine.testing import InProcessSystem


def double(n):
    return 2 * n


async def async_double(n):
    return 2 * n


@functools.lru_cache
def cached(n):
    return 2 * n


def items(n):
    yield from range(n)


class Doubler:
    """Can be called itself, and has a method."""

    def __init__(self, factor=2):
        self.factor = factor

    def __call__(self, n):
        return self.factor * n

    def triple(self, n):
        return 3 * n


class AsyncDoubler:
    async def __call__(self, n):
        return 2 * n


@pytest.fixture(scope="module")
def session():
    with bm.Session(InProcessSystem) as session:
        yield session


@pytest.fixture(scope="module")
def machine(session):
    services = {
        "double": double,
        "async_double": async_double,
        "lambda_": lambda n: 2 * n,
        "partial": functools.partial(double, 3),
        "method": Doubler().__call__,
        "cached": cached,
        "builtin": math.sqrt,
        "doubler": Doubler(),
        "async_doubler": AsyncDoubler(),
        "items": items,
    }
    return session.start(1, services=services)[0]


@pytest.mark.parametrize(
    "name", ["double", "async_double", "lambda_", "method", "cached", "doubler", "async_doubler"]
)
def test_callable_is_service_that_is_called_by_its_name(machine, name):
    assert machine.call(name, 4) == 8
    assert machine.submit(name, n=4).result(60) == 8


def test_callable_service_takes_arguments_and_streams_as_methods_do(machine):
    assert machine.call("partial") == 6
    assert machine.call("builtin", 9) == 3
    assert list(machine.stream("items", 3)) == [0, 1, 2]


def test_methods_of_callable_service_can_be_called_too(machine):
    assert machine.call("doubler.triple", 2) == 6
    assert machine.call("cached.cache_info").maxsize == 128


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("doubel", "no service 'doubel' here; did you mean 'double'"),
        ("double.run", "service 'double' has no method 'run'; call 'double' itself$"),
        ("doubler.tripel", "call 'doubler' itself; did you mean 'triple'\\? There are: triple$"),
        ("double.", "service 'double' has no method ''; call 'double' itself$"),
        ("triple", "no service 'triple' here; call the method as 'doubler.triple'$"),
    ],
)
def test_error_for_unknown_name_says_what_can_be_called(machine, name, message):
    with pytest.raises(bm.UsageError, match=message):
        machine.call(name, 1)


# -- what can't be a service -----------------------------------------------------------


class Nothing:
    def _private(self): ...


class OnlySetup:
    def setup(self, session): ...


class Broken:
    def __init__(self, **methods):
        self.__dict__.update(methods)

    def run(self): ...


def generator():
    yield


REFUSED = [
    (None, "no services: pass what"),
    ({}, "no services: pass what"),
    (
        [Doubler()],
        r'is a dict .*, not a list: write services={"Doubler": Doubler\(\)}',
    ),
    (Doubler(), r'services={"Doubler": Doubler\(\)}'),
    ({Doubler}, r'not a set: write services={"Doubler": Doubler\(\)}'),
    ((double, Nothing()), r'services={"double": double, "Nothing": Nothing\(\)}'),
    ("Doubler", 'not a str: write services={"name": …}'),
    ([], 'not a list: write services={"name": …}'),
    ({"D": Doubler}, r"'D' is the class Doubler: pass an object of it, {\"D\": Doubler\(\)}"),
    ({"D": None}, "'D' is None"),
    ({"math": math}, r"'math' is the module math: pass one of its functions"),
    ({"D": "text"}, r"'D' is plain data \(a str\)"),
    ({"D": 3}, r"plain data \(a int\)"),
    ({"D": {"a": 1}}, r"plain data \(a dict\)"),
    ({"D": staticmethod(double)}, "'D' is a staticmethod"),
    ({"D": True}, r"plain data \(a bool\)"),
    ({"D": object()}, r"plain data \(a object\)"),
    ({"D": Nothing()}, r"'D' is an object without public methods \(a Nothing\)"),
    ({"my-service": Doubler()}, "an identifier, not 'my-service'; for instance 'my_service'"),
    ({"a.b": Doubler()}, "an identifier, not 'a.b'; for instance 'a_b'"),
    ({"_D": Doubler()}, "must not begin with an underscore, as '_D' does"),
    ({"": Doubler()}, "an identifier, not ''$"),
    ({1: Doubler()}, "an identifier, not 1$"),
    ({"Supervisor": Doubler()}, "'Supervisor' is taken"),
    ({"D": Broken(setup=lambda: None)}, r"Broken\.setup .*write def setup\(self, session\)"),
    ({"D": Broken(teardown=lambda how: None)}, r"Broken\.teardown .*write def teardown\(self\)"),
    ({"D": Broken(setup=generator)}, r"Broken\.setup is a generator.*remove its yield"),
]


@pytest.mark.parametrize(("services", "message"), REFUSED)
def test_mistake_in_services_is_refused_and_error_says_what_to_write(session, services, message):
    before = session.machines
    with pytest.raises(bm.UsageError, match=message):
        session.start(1, services=services)
    assert session.machines == before


def test_stub_with_swapped_arguments_says_their_order(machine):
    with pytest.raises(bm.UsageError, match=r'service\(Doubler, "D"\)'):
        machine.service("D", Doubler)


def test_object_with_only_setup_can_be_service(session):
    [machine] = session.start(1, services={"OnlySetup": OnlySetup()})
    with pytest.raises(bm.UsageError, match="there are none"):
        machine.call("OnlySetup.run")
    with pytest.raises(bm.UsageError, match=r"'OnlySetup' can't be called itself; there are none"):
        machine.call("OnlySetup")
