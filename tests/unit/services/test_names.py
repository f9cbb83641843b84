"""Which attributes of a service are methods that can be called remotely."""

from __future__ import annotations

import functools
from enum import Enum

import pytest

from bigmachine.services._names import has_method, method_names


class Meta(type):
    def of_meta(cls) -> None: ...


class Ordinary(metaclass=Meta):
    number = 1

    def method(self) -> None: ...
    def setup(self) -> None: ...
    def _hidden(self) -> None: ...

    @property
    def value(self) -> None: ...

    @functools.cached_property
    def cached(self) -> None: ...

    @classmethod
    def of_class(cls) -> None: ...

    @staticmethod
    def static() -> None: ...

    partial = functools.partialmethod(method)


class Inherited(Ordinary):
    number = len  # type: ignore[assignment]
    static = 2  # type: ignore[assignment]


class Slots:
    __slots__ = ("slot",)

    def method(self) -> None: ...


class Color(Enum):
    RED = 1

    def paint(self) -> None: ...


class Selective(Ordinary):
    def __dir__(self) -> list[str]:
        return ["static", "value"]


def _with_own() -> Ordinary:
    service = Ordinary()
    vars(service).update(method=1, extra=len, setup=len, _own=len, static=lambda: None)
    return service


@pytest.mark.parametrize(
    "service",
    [
        *(Ordinary(), Inherited(), Selective(), _with_own(), Slots(), Color.RED),
        *(Ordinary, Color, len, 1, pytest),
    ],
    ids=lambda service: getattr(service, "__name__", type(service).__name__),
)
def test_one_method_is_found_as_all_of_them_are(service: object) -> None:
    candidates = {*dir(service), *dir(type(service)), "missing", "of_meta"}
    assert {name for name in candidates if has_method(service, name)} == {*method_names(service)}
