"""A user's script with special classes. Tests run it as ``__main__``."""

import abc
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import string
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

# -- slots ---------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Point:
    x: int = 1


@dataclasses.dataclass(slots=True)
class Point3(Point):
    z: int = 3


@dataclasses.dataclass(slots=True, frozen=True)
class Frozen:
    x: int = 1


@dataclasses.dataclass(slots=True, weakref_slot=True)
class Watched:
    x: int = 1


class Two:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a, self.b = 1, 2


class Half(Two):
    """Not all of its slots are set, and it has a `__dict__`."""

    def __init__(self):
        self.a = self.c = 1


class Account:
    __slots__ = ("__balance",)

    def __init__(self):
        self.__balance = 5

    def balance(self):
        return self.__balance


class Secret:
    __slots__ = "__key"

    def __init__(self):
        self.__key = "k"

    def key(self):
        return self.__key


class Documented:
    __slots__ = {"a": "The first."}


class Iterated:
    __slots__ = iter(("a",))


class Both:
    __slots__ = ("__dict__", "a")

    def __init__(self):
        self.a = self.b = 1


class Reference:
    __slots__ = ("__weakref__", "a")

    def __init__(self):
        self.a = 1


class Crate(Generic[T]):
    __slots__ = ("content",)

    def __init__(self, content: T):
        self.content = content


class Number(int):
    __slots__ = ()


class Words(dict):
    __slots__ = ("language",)


class Row(NamedTuple):
    a: int


class Area(abc.ABC):
    __slots__ = ("side",)

    @abc.abstractmethod
    def area(self): ...


class Square(Area):
    __slots__ = ()

    def area(self):
        return self.side**2


# -- enums ---------------------------------------------------------------------


class Planet(enum.Enum):
    MERCURY = (3.303e23, 2.4397e6)
    EARTH = (5.976e24, 6.37814e6)

    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius

    @property
    def gravity(self):
        return round(6.67300e-11 * self.mass / self.radius**2, 2)


class Coordinate(bytes, enum.Enum):
    PX = (0, "P.X", "km")
    VY = (3, "V.Y", "km/s")

    def __new__(cls, value, label, unit):
        obj = bytes.__new__(cls, [value])
        obj._value_ = value
        obj.label = label
        obj.unit = unit
        return obj


class Automatic(enum.Enum):
    def __new__(cls):
        obj = object.__new__(cls)
        obj._value_ = len(cls.__members__) + 1
        return obj

    ONE = ()
    TWO = ()  # noqa: PIE796


class Named(enum.Enum):
    @staticmethod
    def _generate_next_value_(name, start, count, last_values):
        return name.lower()

    FIRST = enum.auto()

    @classmethod
    def _missing_(cls, value):
        return cls.FIRST


class Shape(enum.Enum):
    SQUARE = 2
    ALIAS = 2  # noqa: PIE796
    limits = enum.nonmember([1])
    largest = enum.member(9)
    LIST = [1, 2]  # noqa: RUF012
    NAN = float("nan")
    pi = property(lambda self: 3)


class Access(enum.Flag, boundary=enum.KEEP):
    READ = enum.auto()
    WRITE = enum.auto()
    ALL = READ | WRITE


class Mode(enum.IntFlag):
    X = 1
    W = 2


Both_modes = Mode.X | Mode.W


class Suit(enum.StrEnum):
    HEARTS = enum.auto()


@dataclasses.dataclass
class Animal:
    size: str
    legs: int = 4


class Creature(Animal, enum.Enum):
    BEETLE = "small", 6
    DOG = ("medium",)


class Day(datetime.date, enum.Enum):
    FIRST = 2026, 1, 1


class Price(decimal.Decimal, enum.Enum):
    LOW = "1.50"


class Pair(tuple, enum.Enum):
    AB = "a", "b"


class Op(enum.Enum):
    ADD = enum.member(functools.partial(lambda a, b: a + b))

    def __call__(self, *args):
        return self.value(*args)


class Node(enum.Enum):
    """Its members refer to each other and to the class."""

    A = 1
    B = 2

    @property
    def next(self):
        return self.others[0]


Node.A.others, Node.B.others = [Node.B], [Node.A]
Node.A.kind = Node


class Announced(enum.Enum):
    made = enum.nonmember([])

    def __init_subclass__(cls):
        cls.made.append(cls.__name__)


class News(Announced):
    TODAY = 1


# -- hooks ---------------------------------------------------------------------


class Plugin:
    plugins = []  # noqa: RUF012

    def __init_subclass__(cls, optional=None):
        super().__init_subclass__()
        cls.plugins.append(cls.__name__)


class A(Plugin):
    pass


class B(A, optional=1):
    __slots__ = ("b",)


class SlottedPlugin:
    __slots__ = ("a",)
    plugins = []  # noqa: RUF012

    def __init_subclass__(cls):
        cls.plugins.append(cls.__name__)


class Slotted(SlottedPlugin):
    __slots__ = ("b",)


class OpenPlugin:
    __slots__ = ("__dict__",)
    plugins = []  # noqa: RUF012

    def __init_subclass__(cls):
        cls.plugins.append(cls.__name__)


class Open(OpenPlugin):
    pass


class DictPlugin(dict):
    plugins = []  # noqa: RUF012

    def __init_subclass__(cls):
        cls.plugins.append(cls.__name__)


class Table(DictPlugin):
    pass


class GenericPlugin(Generic[T]):
    plugins = []  # noqa: RUF012

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.plugins.append(cls.__name__)


class Typed(GenericPlugin[int]):
    pass


class Registry(type):
    made = []  # noqa: RUF012

    def __new__(metaclass, name, bases, namespace):
        metaclass.made.append(f"new {name}")
        return super().__new__(metaclass, name, bases, namespace)

    def __init__(cls, name, bases, namespace):
        super().__init__(name, bases, namespace)
        cls.made.append(f"init {name}")

    def __setattr__(cls, name, value):
        raise AttributeError(f"{cls.__name__} is fixed")


class Registered(metaclass=Registry):
    x = 1


class AbstractRegistry(abc.ABCMeta):
    made = []  # noqa: RUF012

    def __init__(cls, name, bases, namespace):
        super().__init__(name, bases, namespace)
        cls.made.append(name)


class AbstractRegistered(metaclass=AbstractRegistry):
    @abc.abstractmethod
    def run(self): ...


class Named_:
    names = []  # noqa: RUF012

    def __set_name__(self, owner, name):
        self.names.append(name)


class Owner:
    field = Named_()


class Converter(abc.ABC):  # noqa: B024
    registered = []  # noqa: RUF012

    @classmethod
    def register(cls, subclass):
        cls.registered.append(subclass.__name__)
        return abc.ABCMeta.register(cls, subclass)


@Converter.register
class Json:
    pass


class Encoder(json.JSONEncoder):
    def default(self, value):
        return repr(value)


class Percent(string.Template):
    delimiter = "%"


# -- closures ------------------------------------------------------------------


def counter():
    n = 0

    def increment():
        nonlocal n
        n += 1
        return n

    return increment, lambda: n


class Counts:
    def __init__(self):
        self.increment, self.read = counter()


def recursive():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    return even, odd


def late():
    def read():
        return value

    def write(new):
        nonlocal value
        value = new

    if False:
        value = None
    return read, write


class Parent:
    def name(self):
        return __class__.__name__


class Child(Parent):
    def name(self):
        return super().name() + __class__.__name__
