from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigmachine.environment._scan import scan
from tests.unit.environment.kit import write_files

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

TREE = """
a b ab.txt a.log x[1].txt #hash !bang star*.c dir/a dir/b.log dir/sub/a dir/sub/deep/b.log
dir/sub/deep/c.txt sub/a sub/dir/a.txt build/out.o build/keep/in.txt data/x.csv data/y/z.csv
src/build/gen.py é.txt A.TXT space\\ file end\\  -dash a-b a]b foo/bar/baz foo/x/bar/baz foo/barbaz
""".replace("\\ ", "\0").split()
TREE = [name.replace("\0", " ") for name in TREE]

PATTERNS = r"""
*.log /a a dir dir/ /dir/ sub/ dir/* dir/** **/a **/sub/a dir/**/b.log foo/**/bar foo/**/baz
\#hash #hash \!bang !bang star\*.c star*.c x[1].txt x\[1].txt x[[]1].txt [a-b] [!a] [^a]* []a] [a
a]b [[:upper:]]* [[:nope:]]a ? ?? a?b a*b ** *** / // ! \ a\ a/ /a/ dir/sub/ sub/a /sub/a **/deep/
deep/** dir/***/b.log a** **.txt foo**/baz foo/**bar/baz d?r/a d*/a */a */*/a [d]ir/a dir[/]a
dir/su[b]/* [z-a] [b-a-z] [a-]b [\]] a[\]-]b *.TXT \a -* [[:alpha:][:digit:]]* a[!-]b build/*/in.txt
"""
LISTS = [
    *PATTERNS.split(),
    *("*.txt\n!ab.txt", "build/\n!build/keep/in.txt", "build/*\n!build/keep", "/*\n!/dir"),
    *("*\n!*/\n!*.txt", "data\n!data/x.csv", "data/**\n!data/y/", "*.log\n\n# all\n!a.log"),
    *("data/**\n!data/**/\n!data/**/*.csv", "space file", "space\\ file", "end\\ ", "end\\  "),
    *(
        "  a",
        "a  ",
        "foo**/baz",
        "f*o**/baz",
        "a\t",
        "*.log\r\na",
        "\ufeffa",
        "é.txt",
        "?.txt\n!b.txt",
    ),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_files(tmp_path_factory.mktemp("tree"), dict.fromkeys(TREE, ""))
    git("init", "-q", str(folder))
    return folder


def git(*arguments: str) -> bytes:
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *arguments], env=environ, check=True, capture_output=True).stdout


def listed_by_git(folder: Path) -> list[str]:
    out = git("-C", str(folder), "ls-files", "--others", "--exclude-standard", "-z")
    return sorted(os.fsdecode(name) for name in out.split(b"\0") if name)


def scanned_paths(folder: Path) -> list[str]:
    return [file.path for file in scan(folder).files]


@pytest.mark.parametrize("patterns", LISTS)
def test_gitignore_excludes_same_files_as_git(tree, patterns):
    (tree / ".gitignore").write_bytes(patterns.encode())
    assert scanned_paths(tree) == listed_by_git(tree)


@given(st.lists(st.text("ab*?/[]!^\\- .dirsub", max_size=8), max_size=3).map("\n".join))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@pytest.mark.long
def test_random_patterns_exclude_same_files_as_git(tree, patterns):
    (tree / ".gitignore").write_bytes(patterns.encode())
    assert scanned_paths(tree) == listed_by_git(tree)


def test_gitignore_files_of_parent_and_child_folders_and_work_tree_apply(tmp_path):
    files = {
        ".gitignore": "*.log\n/top\nproject/here\n",
        ".git/info/exclude": "secret\n",
        "project/.gitignore": "*.csv\n/data/*\n!/data/.gitignore\n",
        "project/data/.gitignore": "!keep.csv\n!x.log\n",
    }
    for name in ("a.py", "x.log", "secret", "here", "top", "data/keep.csv", "data/b", "sub/here"):
        files[f"project/{name}"] = ""
    write_files(tmp_path, files)
    git("init", "-q", str(tmp_path))
    (tmp_path / ".git/info/exclude").write_text("secret\n")
    project = tmp_path / "project"
    assert scanned_paths(project) == listed_by_git(project)
    assert "top" in scanned_paths(project)
    assert "secret" not in scanned_paths(project)
    assert "here" not in scanned_paths(project)


def test_gitignore_does_not_apply_inside_folder_that_it_excludes(tmp_path):
    write_files(tmp_path, {".git/HEAD": "", ".gitignore": "scratch/**\n*.log\n"})
    write_files(tmp_path, {"scratch/deep/run.py": "", "scratch/deep/x.log": ""})
    assert scanned_paths(tmp_path / "scratch/deep") == ["run.py", "x.log"]


def test_gitignore_applies_without_git(tmp_path):
    write_files(tmp_path, {"a.py": "", "b.log": "", ".gitignore": "\ufeff*.log\r\n"})
    assert scanned_paths(tmp_path) == [".gitignore", "a.py"]
