"""The modules that run on a bare machine are joined into two files: boot program and builder."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.resources import files

import pytest

from bigmachine.boot._bundle import (
    BOOT_PROGRAM,
    BUILDER,
    BundleError,
    boot_program_source,
    builder_source,
    join,
)
from tests.support.vms.pythons import VERSIONS, python_of

BUNDLES = [(BOOT_PROGRAM, boot_program_source), (BUILDER, builder_source)]
ON_EACH_PYTHON = "import sys; compile(sys.stdin.read(), 'bundle', 'exec', dont_inherit=True)"


def source_of(module: str) -> str:
    return files("bigmachine.boot.vm").joinpath(module + ".py").read_text()


def is_docstring(node: ast.stmt) -> bool:
    """Also of an attribute, after it."""
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def is_left_out(node: ast.stmt) -> bool:
    is_import = isinstance(node, ast.ImportFrom)
    return (is_import and (node.level > 0 or node.module == "__future__")) or (
        isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )


@pytest.mark.parametrize(("modules", "bundle"), BUNDLES, ids=["boot program", "builder"])
class TestBundle:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_each_python_compiles_bundle(
        self, modules: tuple[str, ...], bundle: Callable[[], str], version: str
    ) -> None:
        command = [python_of(version), "-c", ON_EACH_PYTHON]
        subprocess.run(command, input=bundle(), text=True, check=True)

    def test_no_two_modules_define_same_name(
        self, modules: tuple[str, ...], bundle: Callable[[], str]
    ) -> None:
        names = Counter[str]()
        for module in (*BOOT_PROGRAM, *BUILDER):
            for node in ast.parse(source_of(module)).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    names[node.name] += 1
                elif isinstance(node, ast.Assign):
                    names.update(ast.unparse(target) for target in node.targets)
        assert [name for name, count in names.items() if count > 1] == []

    def test_bundle_imports_only_standard_library(
        self, modules: tuple[str, ...], bundle: Callable[[], str]
    ) -> None:
        imported = set()
        for node in ast.walk(ast.parse(bundle())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
        assert imported <= sys.stdlib_module_names

    def test_bundle_has_exactly_the_code_of_its_modules(
        self, modules: tuple[str, ...], bundle: Callable[[], str]
    ) -> None:
        expected = ast.parse("from __future__ import annotations")
        for module in modules:
            tree = ast.parse(source_of(module))
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                    code = [each for each in node.body if not is_docstring(each)]
                    node.body[:] = code or [ast.Pass()]
            expected.body += [node for node in tree.body if not is_left_out(node)]
        assert ast.dump(ast.parse(bundle())) == ast.dump(expected)

    def test_bundle_keeps_lines_as_written(
        self, modules: tuple[str, ...], bundle: Callable[[], str]
    ) -> None:
        # `ast.unparse` of a new Python may write syntax that an older Python cannot read.
        written = {
            line.partition("  #")[0].strip()
            for module in modules
            for line in source_of(module).splitlines()
        }
        lines = {line.strip() for line in bundle().splitlines()}
        assert lines - written <= {"pass"}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("LIMIT = 2", r"LIMIT is both \.first\.LIMIT and \.second\.LIMIT"),
        ("def read(): ...", r"read is both \.first\.read and \.second\.read"),
        ("class Log: ...", r"Log is both \.first\.Log and \.second\.Log"),
        ("for LIMIT in (): ...", r"LIMIT is both"),
        ("if 1:\n    def read(): ...", r"read is both"),
        ("import os.path as time", r"time is both time and os\.path"),
        ("from http import client as read", r"read is both \.first\.read and http\.client"),
        ("from .first import read as other", "it must import names as they are"),
        ("from . import first", "it must import names as they are"),
        ("def g():\n    from .first import Log", "it must be at the top of the module"),
        ("from .third import x", "third does not come before it"),
    ],
)
def test_modules_that_cannot_be_joined_are_refused(second: str, message: str) -> None:
    first = "import time\nLIMIT = 1\ndef read(): ...\nclass Log: ..."
    with pytest.raises(BundleError, match=message):
        join({"first": first, "second": second})
    with pytest.raises(BundleError, match=message):
        join({"first": first, "second": second}, only=["second"])


def test_modules_may_share_imports_and_local_names() -> None:
    first = 'import time\nimport http.client\nLIMIT = 1\n"Of what."\ndef f():\n    x = 1\n'
    second = (
        "import time\nimport http.server\nfrom .first import f\n"
        "if TYPE_CHECKING:\n    from .third import y\ndef g():\n    x = 2  # a comment\n"
    )
    assert join({"first": first, "second": second}).splitlines() == [
        "from __future__ import annotations",
        "import time",
        "import http.client",
        "LIMIT = 1",
        "def f():",
        " x = 1",
        "import time",
        "import http.server",
        "def g():",
        " x = 2",
    ]
