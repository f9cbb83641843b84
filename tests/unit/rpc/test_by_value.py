"""What a script defines is sent by value, and works at the other side."""

from __future__ import annotations

import functools
import runpy
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bigmachine.rpc import dumps_whole
from tests.unit.rpc.other_side import OtherSide

SCRIPT = Path(__file__).with_name("script.py")

VALUES = {
    "a cached function": ("fibonacci", "value(80)", 23416728348467685),
    "its options": ("fibonacci", "value.cache_parameters()", {"maxsize": 50, "typed": True}),
    "its attributes": ("fibonacci", "(value.__name__, value.unit)", ("fibonacci", "rabbits")),
    "an empty cache": ("fibonacci", "value.cache_info().currsize", 0),
    "cached methods": ("Cached()", "(value.cached(), value.cached.cache_info().hits)", (8, 0)),
    "a cached property": ("Cached()", "(value.model, value.model, value.computed)", (7, 7, 1)),
    "its documentation": ("Cached", "value.model.__doc__", "The model."),
    "a generic function": ("show", "value([1, 'x'])", ["int", "object"]),
    "its name": ("show", "(value.__name__, value.__doc__)", ("show", "Show it.")),
    "methods by argument": ("Methods()", "(value.show(1), value.show(''))", ("int", "object")),
    "a partial method": ("Methods()", "value.increment(2)", 3),
    "a total ordering": ("Version(1)", "value >= type(value)(0)", True),
    "a cached partial": ("functools.cache(functools.partial(fibonacci, 10))", "value()", 55),
    "a partial": ("functools.partial(fibonacci, 10)", "value()", 55),
    "an enum": ("Color.RED", "(value.shout(), type(value)(1) is value)", ("RED!", True)),
    "a flag": ("Permission.READ | Permission.WRITE", "len(value)", 2),
    "an int enum": ("Level.LOW", "value + 1", 2),
    "a dataclass": ("Point()", "(value.x, type(value)(2).tags)", (1, [])),
    "its fields": (
        "Point",
        "[f.default is __import__('dataclasses').MISSING"
        " for f in __import__('dataclasses').fields(value)]",
        [False, True],
    ),
    "a frozen dataclass": (
        "Frozen(1)",
        "(value.y, hash(value) == hash(type(value)(1)),"
        " __import__('dataclasses').replace(value, x=2).x)",
        ("y", True, 2),
    ),
    "keyword-only fields": ("KeywordOnly(1)", "type(value)(3, b=4).b", 4),
    "a NamedTuple": ("Row(2)", "(value.double(), value._replace(b='c'))", (4, (2, "c"))),
    "a namedtuple": ("Pair(1, 2)", "value.right", 2),
    "a TypedDict": ("Movie", "value(name='x')", {"name": "x"}),
    "a Protocol": ("(Closes, File())", "isinstance(value[1], value[0])", True),
    "an ABC": ("Square(3)", "value.area()", 9),
    "its abstract methods": ("Shape", "sorted(value.__abstractmethods__)", ["area"]),
    "a generic class": ("Box[int](3)", "(value.content, type(value)[str].__args__)", (3, (str,))),
    "classes that use each other": ("Ping()", "value.other().name", "Pong"),
    "a hook with arguments": ("Loud()", "list(type(value).plugins)", ["loud"]),
    "and its base": ("Loud", "value.__bases__[0].__name__", "Plugin"),
    "a metaclass with arguments": ("Tagged()", "type(value).tag", "new"),
    "and its child": (
        "TaggedChild()",
        "(value.tag, type(value).__bases__[0].tag)",
        ("newer", "new"),
    ),
    "slots": ("Slots()", "(value.a, value.z)", (1, 26)),
    "a descriptor": ("Described()", "value.field", "field"),
    "an attrs class": ("Attrs()", "(value.y, type(value)(2).x)", ([], 2)),
    "a frozen attrs class": ("AttrsFrozen()", "hash(value) == hash(type(value)())", True),
    "a weak reference": ("tree", "value.children[0].parent() is value", True),
    "a dead reference": ("Tree().add()", "value.parent()", None),
    "weak dictionaries": (
        "registered",
        "(value.instances['first'] is value, value.notes[value])",
        (True, "noted"),
    ),
    "a ParamSpec": ("logged", "value(len)('abc')", 3),
    "a NewType and a TypeVarTuple": ("annotated", "value(3).content", 3),
    "a context variable": ("current_request", "value()", "nobody's"),
    "one without a default": ("unset", "value()", "unset"),
    "the environment by name": ("has_own_environ", "value()", True),
    "hidden generators by name": ("draws_its_own", "value()[0]", True),
    "a context manager": ("opened", "value().__enter__()", "opened"),
    "imports in a function": ("imports_inside", "value()", "[1]"),
    "a pattern and a logger": ("words", "value('aab')", (["aa"], "script")),
}


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.mark.parametrize("what", VALUES)
def test_what_a_script_defines_works_at_other_side(
    script: dict[str, Any], other_side: OtherSide, what: str
) -> None:
    source, expression, expected = VALUES[what]
    value = eval(source, script | {"functools": functools})
    assert other_side.evaluate(dumps_whole(value), expression) == expected


def test_random_numbers_of_hidden_generators_differ(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    pickled = dumps_whole(script["draws_its_own"])
    first, second = (other_side.evaluate(pickled, "value()[1]") for _ in range(2))
    assert first != second  # its state is not sent along


def test_class_sent_twice_is_one_class_at_other_side(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    keep = "setattr(__import__('builtins'), 'kept', value)"
    for kind in ("Square", "Color", "Loud", "Tagged"):
        other_side.evaluate(dumps_whole(script[kind]), keep)
        assert other_side.evaluate(dumps_whole((script[kind], 1)), "value[0] is kept"), kind
    other_side.evaluate(dumps_whole(script["Square"]), keep)
    assert other_side.evaluate(dumps_whole(script["Square"](2)), "isinstance(value, kept)")


def test_other_objects_sent_twice_are_one_object_at_other_side(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    keep = "setattr(__import__('builtins'), 'kept', value)"
    for name in ("request", "UserId", "P", "Ts", "T"):
        other_side.evaluate(dumps_whole(script[name]), keep)
        assert other_side.evaluate(dumps_whole([script[name]]), "value[0] is kept"), name
        assert other_side.evaluate(dumps_whole(script[name])) is script[name]


def test_class_that_comes_back_is_own_class_and_unchanged(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    settings, plugin = script["Settings"], script["Plugin"]
    pickled = dumps_whole([settings(), script["Loud"](), script["Color"].RED])
    greet = settings.greet
    settings.calls = 5
    back, loud, red = other_side.evaluate(pickled)
    assert type(back) is settings
    assert settings.calls == 5
    assert settings.greet is greet
    assert settings.greet.__globals__["GREETING"] == "hello"
    assert type(loud) is plugin.plugins["loud"] is script["Loud"]
    assert plugin.__subclasses__() == [script["Loud"]]
    assert red is script["Color"].RED


def test_class_that_was_changed_is_changed_at_other_side(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    settings = script["Settings"]
    for calls in (1, 2):
        settings.calls = calls
        assert other_side.evaluate(dumps_whole(settings), "value.calls") == calls


def test_what_other_side_keeps_in_class_stays_until_sender_changes_it(
    script: dict[str, Any], other_side: OtherSide
) -> None:
    settings = script["Settings"]
    keep = "(setattr(value, 'model', 'loaded'), value.cache.update(a=1), value().greet())[2]"
    assert other_side.evaluate(dumps_whole(settings), keep) == "hello"
    kept = "(value.model, value.cache, value().greet())"
    assert other_side.evaluate(dumps_whole(settings), kept) == ("loaded", {"a": 1}, "hello")
    settings.model, script["GREETING"] = "other", "unused"
    settings.greet.__globals__["GREETING"] = "goodbye"
    assert other_side.evaluate(dumps_whole(settings), kept) == ("other", {"a": 1}, "goodbye")
    settings.greet.__globals__["GREETING"] = "hello"


def test_code_keeps_its_file_and_lines(script: dict[str, Any], other_side: OtherSide) -> None:
    line = SCRIPT.read_text().splitlines().index("    def fail(self):") + 1
    found = "(value.fail.__code__.co_filename, value.fail.__code__.co_firstlineno)"
    assert other_side.evaluate(dumps_whole(script["Fails"]), found) == (str(SCRIPT), line)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is Python 3.12's")
def test_type_parameters_and_aliases_of_python_312(other_side: OtherSide) -> None:
    source = """
    type Id = int
    type Tree = dict[str, Tree] | None
    type Pair[T] = tuple[T, T]

    class Box[T]:
        def __init__(self, content: T): self.content = content
        def grow[S](self, by: S, tree: Tree, pair: Pair[int]) -> Id: return self.content + by
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(textwrap.dedent(source), "cell", "exec", dont_inherit=True), namespace)
    box = dumps_whole(namespace["Box"][int](1))
    assert other_side.evaluate(box, "value.grow(2, None, (1, 1))") == 3
    tree = "value.grow.__annotations__['tree'].__value__.__args__[0].__args__[1].__name__"
    assert other_side.evaluate(box, tree) == "Tree"
