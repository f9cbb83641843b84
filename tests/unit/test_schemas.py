"""The check of requests against a provider's schema tells what the provider would refuse."""

from __future__ import annotations

import pytest

from tests.support.schemas import REFUSED, Schema, check_refused, refusals


def tree() -> Schema:
    """Return a schema that contains itself."""
    return Schema(
        properties=lambda: {
            "name": Schema(pattern="[a-z]+", min_length=2, max_length=4),
            "size": Schema(minimum=1, maximum=9),
            "kind": Schema(enum=("leaf", "branch")),
            "children": Schema(items=tree, min_items=1, max_items=2),
            "labels": Schema(
                additional=lambda: Schema(max_length=3),
                keys=Schema(pattern="[a-z]+"),
                max_properties=2,
            ),
            "port": Schema(type="integer", format="uint32"),
            "bytes": Schema(type="string", format="int64"),
            "is_old": Schema(type="boolean"),
        },
        required=("name",),
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, "tree.name: is required"),
        ({"name": "abcde"}, "tree.name: 'abcde': 5 characters, and the most is 4"),
        ({"name": "a"}, "tree.name: 'a': 1 characters, and the least is 2"),
        ({"name": "a1"}, "tree.name: 'a1': must match [a-z]+"),
        ({"name": "ab", "size": 10}, "tree.size: 10: 10, and the most is 9"),
        ({"name": "ab", "size": 0.5}, "tree.size: 0.5: 0.5, and the least is 1"),
        ({"name": "ab", "kind": "root"}, "tree.kind: 'root': must be one of ('leaf', 'branch')"),
        ({"name": "ab", "sise": 1}, "tree.sise: is unknown"),
        ({"name": "ab", "labels": {"a": "long"}}, "tree.labels['a']: 'long': 4 characters, and"),
        ({"name": "ab", "labels": {"A": "x"}}, "tree.labels: key: 'A': must match [a-z]+"),
        ({"name": "ab", "labels": dict.fromkeys("abc", "x")}, "tree.labels: {'a': 'x', 'b': 'x', "),
        ({"name": "ab", "port": "80"}, "tree.port: '80': must be of type integer"),
        ({"name": "ab", "port": True}, "tree.port: True: must be of type integer"),
        ({"name": "ab", "port": -1}, "tree.port: -1: -1, and the least is 0"),
        ({"name": "ab", "bytes": 80}, "tree.bytes: 80: must be of type string"),
        ({"name": "ab", "bytes": "1e3"}, "tree.bytes: '1e3': must be a number (int64)"),
        (
            {"name": "ab", "bytes": str(2**63)},
            "tree.bytes: '9223372036854775808': 9.22337e+18, and",
        ),
        ({"name": "ab", "is_old": "true"}, "tree.is_old: 'true': must be of type boolean"),
        ({"name": "ab", "children": []}, "tree.children: []: 0 items, and the least is 1"),
        ({"name": "ab", "children": [{"name": "ab"}, {}]}, "tree.children[1].name: is required"),
    ],
)
def test_value_outside_its_schema_is_reported_with_path_and_limit(value, problem):
    [found] = refusals(tree(), value, "tree")
    assert found.startswith(problem)


def test_value_within_its_schema_is_accepted():
    leaf = {"name": "abc", "size": 9, "kind": "leaf", "labels": {"any": "abc"}}
    leaf |= {"port": 2**32 - 1, "bytes": "-9223372036854775808", "is_old": False}
    assert [*refusals(tree(), {"name": "abcd", "children": [leaf, leaf]}, "tree")] == []


def test_refused_request_fails_each_test_that_sends_it(request):
    assert "nothing_refused" in request.fixturenames  # of the root conftest, in all tests
    REFUSED.append("a request")
    with pytest.raises(AssertionError, match="a request"):
        check_refused()
    check_refused()
