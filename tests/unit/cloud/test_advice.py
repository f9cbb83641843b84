"""What a user can mend is named: the clock, a misspelt name, what a proxy says."""

from __future__ import annotations

import pytest

from bigmachine.cloud import clock_advice, nearest_name, plain_text
from bigmachine.system import one_name_problem


@pytest.mark.parametrize(
    ("skew", "advice"),
    [
        (0.0, ""),
        (-299.0, ""),
        (600.0, "this computer's clock is 10 minutes ahead of Azure's: set it right"),
        (-7200.0, "this computer's clock is 120 minutes behind Azure's: set it right"),
    ],
)
def test_clock_that_is_wrong_by_minutes_is_to_be_set(skew, advice):
    assert clock_advice(skew, "Azure") == advice


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("weesteurope", "did you mean 'westeurope'?"),
        ("WestEurope", "did you mean 'westeurope'?"),
        ("large", "did you mean 'M5.large'?"),
        ("nowhere at all", "a name is like 'northeurope'."),
    ],
)
def test_misspelt_name_has_a_hint(name, hint):
    known = ["northeurope", "westeurope", "M5.large"]
    assert nearest_name(name, known, example="northeurope") == hint


def test_misspelt_name_has_no_hint_without_an_example():
    assert nearest_name("nowhere at all", ["westeurope"]) == ""


def test_page_of_a_proxy_is_one_line_without_markup():
    page = "<html><style>p {}</style>\n<h1>Denied</h1> <p>by\n your  proxy</p><script>x</script>"
    assert plain_text(page) == "Denied by your proxy"
    assert plain_text("x" * 999) == "x" * 200
    assert plain_text("") == ""


def test_names_in_one_text_are_shown_as_they_are_written():
    problem = one_name_problem("zones", " a, b;c")
    assert problem == "must be one name each: pass zones=['a', 'b', 'c']"
    assert one_name_problem("zones", " a ") == ""
