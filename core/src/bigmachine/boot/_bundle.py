"""Joins the modules of `bigmachine.boot.vm` into the two texts that a machine is sent.

The boot program goes into user data, which must be small. The builder follows with the
manifest; it runs among the names of the boot program.
"""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from collections.abc import Iterator, Sequence

# A module comes after those that it imports.
BOOT_PROGRAM = (
    *("common", "log", "watchdog", "tls", "blobs"),
    *("server", "methods", "worker", "program"),
)
BUILDER = ("tools", "builder")


@functools.cache  # every machine is sent the same
def boot_program_source() -> str:
    """Return the boot program, in one file that python3 runs."""
    return join({name: _read(name) for name in BOOT_PROGRAM})


@functools.cache
def builder_source() -> str:
    """Return the rest of the boot program, which defines ``Builder``."""
    modules = {name: _read(name) for name in (*BOOT_PROGRAM, *BUILDER)}
    return join(modules, only=BUILDER)


def join(modules: dict[str, str], *, only: Sequence[str] = ()) -> str:
    """Return the sources of ``modules`` as one, or those of ``only``, which runs after the rest.

    Comments, docstrings and most of the indentation are left out, and what the modules import
    of one another. Raises `BundleError` if a name at the top of two modules means different
    things, or if a module imports from one that does not come before it.
    """
    meanings: dict[str, str] = {}
    parts = ["from __future__ import annotations"]
    earlier: set[str] = set()
    for module, source in modules.items():
        tree = ast.parse(source)
        _check_imports(module, tree, earlier)
        for name, meaning in _names(module, source, tree):
            if meanings.setdefault(name, meaning) != meaning:
                raise BundleError(f"{name} is both {meanings[name]} and {meaning}")
        if module in (only or modules):
            parts.append(_stripped(source, tree))
        earlier.add(module)
    return "\n".join(parts)


class BundleError(Exception):
    """The modules can't be joined into one file."""


def _read(module: str) -> str:
    from importlib.resources import files  # late: all import this module, few need the program

    return files("bigmachine.boot.vm").joinpath(module + ".py").read_text("utf-8")


def _check_imports(module: str, tree: ast.Module, earlier: set[str]) -> None:
    """Refuse what does not work without the imports that are left out."""
    unused = {node for part in tree.body if _is_left_out(part) for node in ast.walk(part)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        text = f"{module}: {ast.unparse(node)}"
        if node not in unused:
            raise BundleError(f"{text}: it must be at the top of the module")
        if any(alias.asname for alias in node.names) or node.module is None:
            raise BundleError(f"{text}: it must import names as they are")
        if node in tree.body and node.module not in earlier:
            raise BundleError(f"{text}: {node.module} does not come before it")


def _names(module: str, source: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the names at the top of a module, each with what it means: ``typing.Any``."""
    import symtable  # late, as in `_read`

    for symbol in symtable.symtable(source, module, "exec").get_symbols():
        if symbol.is_assigned():
            yield symbol.get_name(), f".{module}.{symbol.get_name()}"
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, "." * node.level + f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                package = alias.name.partition(".")[0]  # what `import a.b` binds
                yield alias.asname or package, alias.name if alias.asname else package


def _is_left_out(node: ast.stmt) -> bool:
    """Whether a statement at the top of a module is an import that the joined file lacks."""
    if isinstance(node, ast.ImportFrom):
        return bool(node.level) or node.module == "__future__"
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _stripped(source: str, tree: ast.Module) -> str:
    """Return a module's source without what a machine doesn't need.

    Lines are cut, and the rest stays as it is written: what `ast.unparse` writes can be read
    by the driver's Python, and perhaps not by an older one.
    """
    lines = source.splitlines()

    def cut(node: ast.stmt) -> None:
        last = node.end_lineno or node.lineno
        lines[node.lineno - 1 : last] = [""] * (last - node.lineno + 1)

    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in filter(_is_left_out, tree.body):
        cut(node)
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.FunctionDef | ast.ClassDef | ast.Module):
            continue
        docstrings = [*filter(_is_docstring, scope.body)]
        for node in docstrings:
            cut(node)
        if docstrings and docstrings == scope.body:
            lines[node.lineno - 1] = " " * node.col_offset + "pass"
    return "\n".join(_dedented(line) for line in lines if line)


def _is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a docstring, perhaps that of the attribute before it."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _dedented(line: str) -> str:
    """Indent by one space for each four: some 280 bytes less, compressed."""
    code = line.lstrip(" ")
    return " " * ((len(line) - len(code)) // 4) + code
