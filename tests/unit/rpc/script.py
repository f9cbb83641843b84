"""A user's script: what it defines is sent by value. Tests run it as ``__main__``."""

import abc
import contextlib
import contextvars
import dataclasses
import enum
import functools
import logging
import random
import re
import threading
import weakref
from collections import namedtuple
from collections.abc import Callable
from os import environ
from random import randint
from random import random as random_number
from typing import (
    Any,
    Generic,
    NamedTuple,
    NewType,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    runtime_checkable,
)

import attrs
from numpy.random import rand

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
UserId = NewType("UserId", int)

unused = threading.Lock()

# -- functools -----------------------------------------------------------------


@functools.lru_cache(maxsize=50, typed=True)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


fibonacci.unit = "rabbits"


class Cached:
    def __init__(self):
        self.computed = 0

    @functools.lru_cache  # noqa: B019
    def cached(self):
        return 8

    @functools.cached_property
    def model(self):
        """The model."""
        self.computed += 1
        return 7


@functools.singledispatch
def show(value):
    """Show it."""
    return "object"


@show.register
def _(value: int):
    return "int"


@show.register
def _(value: list):
    return [show(each) for each in value]


class Methods:
    @functools.singledispatchmethod
    def show(self, value):
        return "object"

    @show.register
    def _(self, value: int):
        return "int"

    def add(self, a, b):
        return a + b

    increment = functools.partialmethod(add, 1)


@functools.total_ordering
class Version:
    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return self.number == other.number

    def __lt__(self, other):
        return self.number < other.number


# -- classes -------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1
    GREEN = 2

    def shout(self):
        return self.name + "!"


class Permission(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: int = 1
    tags: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int
    y: str = "y"


@dataclasses.dataclass
class KeywordOnly:
    a: int
    _: dataclasses.KW_ONLY
    b: int = 2


class Row(NamedTuple):
    a: int
    b: str = "b"

    def double(self):
        return 2 * self.a


Pair = namedtuple("Pair", "left right")


class Movie(TypedDict, total=False):
    name: str


@runtime_checkable
class Closes(Protocol):
    def close(self): ...


class File:
    def close(self): ...


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def __init__(self, side):
        super().__init__()
        self.side = side

    def area(self):
        return self.side**2


class Box(Generic[T]):
    def __init__(self, content: T):
        self.content = content


class Ping:
    def other(self):
        return Pong()


class Pong(Ping):
    def __init__(self):
        super().__init__()
        self.name = __class__.__name__


class Plugin:
    plugins = {}  # noqa: RUF012

    def __init_subclass__(cls, *, name, **options):
        super().__init_subclass__(**options)
        if name in cls.plugins:
            raise ValueError(f"{name} is there already")
        cls.plugins[name] = cls


class Loud(Plugin, name="loud"):
    pass


class Tagging(type):
    def __new__(metaclass, name, bases, namespace, *, tag):
        cls = super().__new__(metaclass, name, bases, namespace)
        cls.tag = tag
        return cls

    def __init__(cls, name, bases, namespace, *, tag):
        super().__init__(name, bases, namespace)


class Tagged(metaclass=Tagging, tag="new"):
    pass


class TaggedChild(Tagged, tag="newer"):
    pass


class Slots:
    __slots__ = ("__dict__", "__weakref__", "a")

    def __init__(self):
        self.a = 1
        self.z = 26


class Descriptor:
    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner):
        return self.name


class Described:
    field = Descriptor()


@attrs.define
class Attrs:
    x: int = 1
    y: list = attrs.field(factory=list)


@attrs.frozen
class AttrsFrozen:
    x: int = 1


class Tree:
    def __init__(self):
        self.parent = None
        self.children = []

    def add(self):
        child = Tree()
        child.parent = weakref.ref(self)
        self.children.append(child)
        return child


tree = Tree()
tree.add()


class Registered:
    instances = weakref.WeakValueDictionary()  # noqa: RUF012
    notes = weakref.WeakKeyDictionary()  # noqa: RUF012

    def __init__(self, name):
        self.name = name
        self.instances[name] = self
        self.notes[self] = "noted"


registered = Registered("first")


# -- functions -----------------------------------------------------------------


def logged(function: Callable[P, T]) -> Callable[P, T]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return wrapper


def annotated(user: UserId, *rest: *Ts) -> "Box[T]":
    return Box(user)


request = contextvars.ContextVar("request", default="nobody's")
without_default = contextvars.ContextVar("without_default")


def current_request(value: Any = None):
    if value is not None:
        request.set(value)
    return request.get()


def unset():
    try:
        return without_default.get()
    except LookupError:
        return "unset"


def has_own_environ():
    import os

    return environ is os.environ


def draws_its_own():
    return random_number.__self__ is randint.__self__ is random._inst, rand()


@contextlib.contextmanager
def opened():
    yield "opened"


def imports_inside():
    import json as j

    return j.dumps([1])


WORD = re.compile("a+")
logger = logging.getLogger("script")


def words(text):
    return WORD.findall(text), logger.name


GREETING = "hello"


class Settings:
    """Belongs to this process, however often it comes back."""

    calls = 0
    model = None
    cache = {}  # noqa: RUF012

    def greet(self):
        return GREETING


class Fails:
    def fail(self):
        raise LookupError("not there")  # the line that tracebacks show
