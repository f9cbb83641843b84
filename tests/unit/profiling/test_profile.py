"""Profiles as values: merged, filtered by label, and as a table."""

from __future__ import annotations

import pytest

import bigmachine as bm
from bigmachine.profiling import Frame, Profile, Sample, ValueType

MAIN = Frame("main", "/work/program.py", 20, 18)
LOW = Frame("work", "/work/program.py", 5, 3)
HIGH = Frame("work", "/work/program.py", 7, 3)
TYPES = (ValueType("wall", "nanoseconds"), ValueType("cpu", "nanoseconds"))


def profile(*samples, seconds=2.0, **fields):
    return Profile(TYPES, samples, started_at=1e9, seconds=seconds, period=0.01, **fields)


ONE = profile(
    Sample((HIGH, MAIN), (2_000_000_000, 1_000_000_000)),
    Sample((LOW, MAIN), (1_000_000_000, 500_000_000)),
    Sample((MAIN,), (500_000_000, 500_000_000)),
).labelled(machine="m0")


def rows(text):
    return [" ".join(line.split()) for line in text.splitlines()[2:]]


def test_top_adds_up_functions_their_callers_and_running_sum():
    assert rows(ONE.top()) == [
        "1.50 s 75.0% 75.0% 1.50 s 75.0% work program.py:3",
        "500.0 ms 25.0% 100.0% 2.00 s 100.0% main program.py:18",
    ]


def test_top_by_line_tells_lines_of_a_function_apart():
    places = [row.split()[-1] for row in rows(ONE.top(by="line"))]
    assert places == ["program.py:7", "program.py:20", "program.py:5"]


def test_top_shows_another_value_when_asked():
    assert ONE.top(value="wall").startswith("wall: 3.50 s in 2.0 s on 1 machine: m0")
    with pytest.raises(bm.UsageError, match="no 'walk', but 'wall' or 'cpu'; did you mean 'wall'"):
        ONE.top(value="walk")


def test_function_that_calls_itself_is_counted_once():
    recursive = profile(Sample((LOW, LOW, HIGH, MAIN), (0, 1_000_000_000)))
    assert rows(recursive.top())[0].endswith("1.00 s 100.0% work program.py:3")


def test_top_says_how_many_rows_it_leaves_out():
    assert ONE.top(limit=1).splitlines()[-1] == "… and 1 more"


def test_top_of_nothing_has_no_table():
    assert str(profile()) == "cpu: 0.0 ms in 2.0 s"


def test_top_is_harmless_on_a_terminal():
    evil = profile(
        Sample((Frame("\x1b[2Jgone\nnext", "x.py"),), (1, 1)), failures={"m1": "\x1b[31mred"}
    )
    assert "\x1b" not in evil.top()
    assert len(evil.top().splitlines()) == 4


def test_merge_adds_equal_stacks_of_a_machine_and_keeps_machines_apart():
    other = ONE.labelled(machine="m1")
    merged = Profile.merge([ONE, other, ONE])
    assert merged.machines == ["m0", "m1"]
    assert len(merged.samples) == len(ONE.samples) * 2
    assert merged.filter(machine="m0").total() == 2 * ONE.total()
    assert merged.filter(machine="m1").samples == other.samples


def test_merge_takes_as_long_as_the_longest_and_keeps_what_was_said():
    late = profile(seconds=5.0, failures={"m2": "it stopped"}, notes=("a", "b"))
    merged = Profile.merge([profile(seconds=3.0, notes=("a",)), late])
    assert (merged.seconds, merged.failures) == (5.0, {"m2": "it stopped"})
    assert merged.top().splitlines()[-3:] == ["not in it: m2: it stopped", "a", "b"]


def test_merge_refuses_nothing_and_what_measures_different_things():
    heap = Profile((ValueType("objects", "count"),), (), started_at=0, seconds=0)
    with pytest.raises(bm.UsageError, match="measure different things"):
        Profile.merge([ONE, heap])
    with pytest.raises(bm.UsageError, match="no profile"):
        Profile.merge([])
