from __future__ import annotations

from bigmachine.environment import difference

ASKED = {
    "python": "3.11",
    "distributions": {"numpy": "1.26.4", "trio": "0.30", "app": "0.1+aaaaaaaaaaaa"},
    "files": {"0/run.py": "aa", "0/sub/x.py": "bb"},
}


def test_equal_contents_do_not_differ():
    assert difference(ASKED, ASKED) == ""


def test_every_difference_has_a_line():
    built = {
        "python": "3.12",
        "distributions": {"numpy": "2.0", "app": "0.1+aaaaaaaaaaaa", "extra": "1"},
        "files": {"0/run.py": "ab", "1/y.py": "cc"},
    }
    assert difference(ASKED, built).splitlines() == [
        "Python: asked for 3.11, built 3.12",
        "extra 1: not asked for",
        "numpy: asked for 1.26.4, built 2.0",
        "trio 0.30: missing",
        "run.py (folder 0): another content",
        "sub/x.py (folder 0): missing",
        "y.py (folder 1): not asked for",
    ]


def test_many_differences_are_cut():
    built = {**ASKED, "files": {**ASKED["files"], **{f"0/{n}": "" for n in range(24)}}}
    lines = difference(ASKED, built).splitlines()
    assert len(lines) == 13
    assert lines[-1] == "… and 12 more"
