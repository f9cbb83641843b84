"""Classes that a script defines have the same instances, members and records at the other side."""

from __future__ import annotations

import runpy
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bigmachine.rpc import dumps_whole
from bigmachine.rpc.pickling._quiet_class import hooks_hidden, make_quiet_class
from tests.unit.rpc.other_side import OtherSide

SCRIPT = Path(__file__).with_name("script_classes.py")

# What is sent, what is evaluated with it at the other side, and what it is there.
VALUES = {
    "a class with slots": (
        "Two()",
        "(value.a, value.b, hasattr(value, '__dict__'))",
        (1, 2, False),
    ),
    "a child without": ("Half()", "(value.a, hasattr(value, 'b'), value.c)", (1, False, 1)),
    "a private slot": ("Account()", "value.balance()", 5),
    "one private slot": ("Secret()", "value.key()", "k"),
    "documented slots": ("Documented", "value.__slots__", {"a": "The first."}),
    "slots of an iterator": ("Iterated", "value.__slots__", ("a",)),
    "slots and a dict": ("Both()", "(value.a, vars(value))", (1, {"b": 1})),
    "a slot for weak references": (
        "Reference()",
        "__import__('weakref').ref(value)() is value and not hasattr(value, '__dict__')",
        True,
    ),
    "a generic class with slots": (
        "Crate[int](1)",
        "(value.content, type(value)[str](2).content)",
        (1, 2),
    ),
    "a built-in type's child": ("Number(3)", "(value + 1, hasattr(value, '__dict__'))", (4, False)),
    "a NamedTuple": ("Row(1)", "(value, hasattr(value, '__dict__'))", ((1,), False)),
    "an abstract class with slots": (
        "Square",
        "[setattr(square := value(), 'side', 3), square.area()][1]",
        9,
    ),
    "a dataclass's slots": (
        "Point3()",
        "(value.z, [f.name for f in __import__('dataclasses').fields(value)],"
        " hasattr(value, '__dict__'))",
        (3, ["x", "z"], False),
    ),
    "Planet of Python's documentation": (
        "Planet.EARTH",
        "(value.gravity, value.value)",
        (9.8, (5.976e24, 6.37814e6)),
    ),
    "its members": ("Planet", "[each.name for each in value]", ["MERCURY", "EARTH"]),
    "an enum with __new__": (
        "Coordinate.VY",
        "(value.label, value.unit, value.value, bytes(value), type(value)(0).label)",
        ("V.Y", "km/s", 3, b"\3", "P.X"),
    ),
    "an enum that numbers itself": (
        "Automatic.TWO",
        "(value.value, type(value)(1).name)",
        (2, "ONE"),
    ),
    "an enum's own default": (
        "Named.FIRST",
        "(value.value, type(value)('?') is value)",
        ("first", True),
    ),
    "its way to number": (
        "Named",
        "value._generate_next_value_('AB', 1, 0, [])",
        "ab",
    ),
    "an alias": (
        "Shape",
        "(value.ALIAS is value.SQUARE, list(value.__members__))",
        (True, ["SQUARE", "ALIAS", "largest", "LIST", "NAN"]),
    ),
    "no member": ("Shape", "(value.limits, value.largest.value, value.SQUARE.pi)", ([1], 9, 3)),
    "a member that can't be hashed": (
        "Shape.LIST",
        "(value.value, type(value)([1, 2]) is value)",
        ([1, 2], True),
    ),
    "not a number": ("Shape.NAN", "value is type(value).NAN", True),
    "a flag": (
        "[Access.READ, Access.ALL, Access.READ | Access.WRITE, Access(5)]",
        "([each.value for each in value], value[1] is value[2], value[0] in value[1],"
        " value[1].name, [each.name for each in value[1]], (~value[0]).name)",
        ([1, 3, 3, 5], True, True, "ALL", ["READ", "WRITE"], "WRITE"),
    ),
    "an IntFlag": ("Both_modes", "(value + 1, value.name, len(value))", (4, "X|W", 2)),
    "a StrEnum": ("Suit.HEARTS", "(value.upper(), f'{value}')", ("HEARTS", "hearts")),
    "an enum of dataclasses": (
        "Creature.DOG",
        "(value.size, value.legs, value.name)",
        ("medium", 4, "DOG"),
    ),
    "an enum of dates": ("Day.FIRST", "(value.year, value.isoformat())", (2026, "2026-01-01")),
    "an enum of decimals": ("Price.LOW", "str(value * 2)", "3.00"),
    "an enum of tuples": ("Pair.AB", "(tuple(value), value.value)", (("a", "b"), ("a", "b"))),
    "an enum of functions": ("Op.ADD", "value(1, 2)", 3),
    "members that refer to each other": (
        "Node.A",
        "(value.next.next is value, value.kind is type(value))",
        (True, True),
    ),
    "members as keys": (
        "{Planet.EARTH: 1, Suit.HEARTS: 2}",
        "[key.name for key in value]",
        ["EARTH", "HEARTS"],
    ),
    "members of a known enum": ("Planet.MERCURY", "value.gravity", 3.7),
    "a hook of an enum": ("News", "(value.made, value.TODAY.value)", (["News"], 1)),
    "a hook": (
        "B",
        "(value.plugins, [base.__name__ for base in value.__mro__])",
        (["A", "B"], ["B", "A", "Plugin", "object"]),
    ),
    "a hook and slots": (
        "Slotted",
        "(value.plugins, [base.__name__ for base in value.__mro__])",
        (["Slotted"], ["Slotted", "SlottedPlugin", "object"]),
    ),
    "a hook and a dict": (
        "Open",
        "(value.plugins, [base.__name__ for base in value.__mro__])",
        (["Open"], ["Open", "OpenPlugin", "object"]),
    ),
    "a hook of a dict": (
        "Table(a=1)",
        "(value, value.plugins, type(value).__bases__[0].__name__)",
        ({"a": 1}, ["Table"], "DictPlugin"),
    ),
    "a hook of a generic class": (
        "Typed",
        "(value.plugins, [base.__name__ for base in value.__mro__])",
        (["Typed"], ["Typed", "GenericPlugin", "Generic", "object"]),
    ),
    "a hook that still runs there": (
        "Plugin",
        "(type('New', (value,), {}), value.plugins[-1])[1]",
        "New",
    ),
    "a metaclass": (
        "Registered",
        "(value.made, value.x)",
        (["new Registered", "init Registered"], 1),
    ),
    "an abstract metaclass": (
        "AbstractRegistered",
        "(value.made, list(value.__abstractmethods__))",
        (["AbstractRegistered"], ["run"]),
    ),
    "a descriptor's name": ("Owner", "vars(value)['field'].names", ["field"]),
    "a class with register()": (
        "(Converter, Json())",
        "(isinstance(value[1], value[0]), value[0].registered)",
        (True, ["Json"]),
    ),
    "an imported base": ("Encoder()", "value.encode({1})", '"{1}"'),
    "a library's hook": ("Percent('%a')", "value.substitute(a=1)", "1"),
    "functions that share a variable": (
        "counter()",
        "(value[0](), value[0](), value[1]())",
        (1, 2, 2),
    ),
    "attributes that do": (
        "Counts()",
        "(value.increment(), value.increment(), value.read())",
        (1, 2, 2),
    ),
    "functions that call each other": ("recursive()", "(value[0](4), value[1](4))", (True, False)),
    "a variable without a value": ("late()", "(value[1](5), value[0]())", (None, 5)),
    "super()": ("Child()", "value.name()", "ParentChild"),
}


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.mark.parametrize("what", VALUES)
def test_class_of_script_is_same_at_other_side(
    script: dict[str, Any], other_side: OtherSide, what: str
) -> None:
    source, expression, expected = VALUES[what]
    assert other_side.evaluate(dumps_whole(eval(source, script)), expression) == expected


def test_instances_with_slots_come_back_as_own(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    names = "Point", "Point3", "Frozen", "Watched", "Two", "Half", "Account", "Secret"
    names += "Both", "Reference", "Words"
    for name in names:
        back = other_side.evaluate(dumps_whole(script[name]()))
        assert type(back) is script[name], name
    assert other_side.evaluate(dumps_whole(script["Point"](7))).x == 7
    assert other_side.evaluate(dumps_whole(script["Frozen"](7))).x == 7
    assert other_side.evaluate(dumps_whole(script["Account"]())).balance() == 5
    assert other_side.evaluate(dumps_whole(script["Half"]())).c == 1


def test_members_come_back_as_own_members(script: dict[str, Any], other_side: OtherSide) -> None:
    members = [
        member
        for name in ("Planet", "Coordinate", "Automatic", "Named", "Shape", "Access", "Creature")
        for member in script[name]
    ]
    members += [script["Both_modes"], script["Day"].FIRST, script["Node"].A]
    back = other_side.evaluate(dumps_whole(members))
    assert [id(member) for member in back] == [id(member) for member in members]


def test_enum_that_was_changed_is_changed_at_other_side(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    planet, shape = script["Planet"], script["Shape"]
    other_side.evaluate(dumps_whole([planet.EARTH, shape.SQUARE]))
    planet.EARTH.population = 8
    shape.limits = [2]
    changed = "(value[0].population, value[1].limits)"
    assert other_side.evaluate(dumps_whole([planet.EARTH, shape]), changed) == (8, [2])
    other_side.evaluate(dumps_whole(planet), "setattr(value.EARTH, 'population', 9)")
    assert other_side.evaluate(dumps_whole(planet), "value.EARTH.population") == 9


def test_combination_of_flags_stays_one_object_at_other_side(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    pickled = dumps_whole(script["Both_modes"])
    other_side.evaluate(pickled, "setattr(__import__('builtins'), 'kept', value)")
    script["Mode"].note = "changed"
    again = dumps_whole(script["Both_modes"])
    assert other_side.evaluate(again, "(value is kept, value.note)") == (True, "changed")


def test_hooks_of_new_classes_run_at_other_side_and_here(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    """Only those of the class that arrives are hidden, and only while it is made."""
    hook = vars(script["Plugin"])["__init_subclass__"]
    names = other_side.evaluate(
        dumps_whole([script["Plugin"], script["B"]]),
        "(type('New', (value[1],), {'__slots__': ()}), value[0].plugins)[1]",
    )
    assert names[-1] == "New"
    assert names.count("B") == 1
    defined_there = other_side.evaluate(dumps_whole(script["B"]), "type('There', (value,), {})")
    assert issubclass(defined_there, script["B"])
    assert vars(script["Plugin"])["__init_subclass__"] is hook
    assert "There" not in script["Plugin"].plugins  # its hook has run where it was defined


class Library:
    """A base in an imported module; its hook wants an argument of the class statement."""

    names: ClassVar[list[str]] = []

    def __init_subclass__(cls, *, name: str) -> None:
        cls.names.append(name)


def test_class_arrives_whose_library_wants_arguments_of_class_statement() -> None:
    arrived = make_quiet_class(type, "Arrived", (Library,), {"__module__": "__main__"})
    assert arrived.__mro__ == (arrived, Library, object)
    assert Library.names == []


def test_hook_runs_in_other_threads_while_class_arrives() -> None:
    class Meta(type):
        def __new__(metaclass, name: str, bases: Any, namespace: Any) -> Any:
            def define() -> None:
                class There(Library, name="there"):
                    pass

            thread = threading.Thread(target=define)
            thread.start()
            thread.join()
            return super().__new__(metaclass, name, bases, namespace)

    # As an imported metaclass is: its work is done while the hooks of the bases are hidden.
    with hooks_hidden((Library,), lambda kind: True):
        Meta("Here", (Library,), {})
    assert Library.names == ["there"]
    Library.names.clear()
