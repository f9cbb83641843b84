from __future__ import annotations

from bigmachine.environment import difference

REQUESTED = {
    "python": "3.11",
    "distributions": {"numpy": "1.26.4", "trio": "0.30", "app": "0.1+aaaaaaaaaaaa"},
    "files": {"0/run.py": "aa", "0/sub/x.py": "bb"},
}


def test_equal_contents_have_no_difference():
    assert difference(REQUESTED, REQUESTED) == ""


def test_each_difference_has_one_line():
    built = {
        "python": "3.12",
        "distributions": {"numpy": "2.0", "app": "0.1+aaaaaaaaaaaa", "extra": "1"},
        "files": {"0/run.py": "ab", "1/y.py": "cc"},
    }
    assert difference(REQUESTED, built).splitlines() == [
        "Python: requested 3.11, built 3.12",
        "extra 1: not requested",
        "numpy: requested 1.26.4, built 2.0",
        "trio 0.30: missing",
        "run.py (folder 0): other content",
        "sub/x.py (folder 0): missing",
        "y.py (folder 1): not requested",
    ]


def test_long_list_of_differences_is_truncated():
    built = {**REQUESTED, "files": {**REQUESTED["files"], **{f"0/{n}": "" for n in range(24)}}}
    lines = difference(REQUESTED, built).splitlines()
    assert len(lines) == 13
    assert lines[-1] == "… and 12 more"
