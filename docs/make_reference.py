"""Write ``docs/reference.md``: every public name with its signature and its docstring.

``uv run python docs/make_reference.py``. Signatures and docstrings are read from the source, so
the page says what the code says; only the chapters and their introductions are written here.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import bigmachine as bm

PAGE = Path(__file__).with_name("reference.md")

HEAD = """\
# Reference

Every public name, with its description. This page is made from the docstrings by
`docs/make_reference.py`: don't edit it.

Arguments after `*` are given by keyword. Times are in seconds, and money is in US dollars.
"""

COMMANDS = """\
## Command line

| command | what it does |
|---|---|
| `bigmachine systems` | lists the installed systems and their options, and how to install the others; `--json` is for programs |
| `bigmachine check SYSTEM` | shows whether sessions would work [on your account](ec2.md#will-it-work-on-your-account), at no cost; the exit status is 1 if not; `--json` is for programs |
| `bigmachine doctor [SYSTEM]` | finds out [what is wrong](machines.md#the-command-line) here and at providers, and what to do; the exit status is 1 if anything is |
| `bigmachine env [SCRIPT]` | prints what would be [sent](environment.md) to machines that have none of your code |
| `bigmachine run SCRIPT` | runs a program whose sessions name no system on [one of your choice](machines.md#options): `--system`, `-o`, and `--` before its arguments |
| `bigmachine ps [SYSTEM ...]` | lists the sessions that run on this computer, and the [resources of sessions](machines.md#leftovers-and-how-to-free-them), who drives them, and their cost; `--json` is for programs |
| `bigmachine top` | shows the machines of a [running session](debug.md#from-another-terminal), live |
| `bigmachine ssh MACHINE [-- ARGUMENTS]` | logs in to a machine of a [running session](debug.md#from-another-terminal) that was opened with `ssh_key` |
| `bigmachine logs [MACHINE]` | prints the output of a [running session's](debug.md#from-another-terminal) machines; `-f` goes on with what comes |
| `bigmachine profile` | shows where the CPU time, or with `--heap` the memory, of a [running session](debug.md#from-another-terminal) goes; `-o` and `--flame` write files |
| `bigmachine dump` | writes all that a running session can show of itself into one [archive](debug.md#from-another-terminal) |
| `bigmachine reap [SYSTEM] [SESSION ...]` | frees the [leftovers](machines.md#leftovers-and-how-to-free-them) of dead drivers, or sessions by name; `--dry-run`, `--yes` |
| `bigmachine conformance NAME` | proves that a backend keeps its [contract](backend-contract.md); needs `pip install "bigmachine[testing]"` |
| `bigmachine new-backend NAME` | writes a package with a backend that works, to start your own from |
| `bigmachine completion SHELL` | prints what makes a shell [complete](machines.md#the-command-line) this command line; needs `pip install "bigmachine[completion]"` |
| `bigmachine --version` | prints the version |
"""  # noqa: E501

# Where each public name of `bigmachine` goes (see `_part`), and what is public beside it.
PARTS = {
    "Sessions": "Start here: `Session` for scripts and notebooks, `AsyncSession` for trio. The "
    "`setup` of a service gets a `PeerSession` or an `AsyncPeerSession`.",
    "Machines": "Made by sessions. A call raises the method's own exception, with a `RemoteError` "
    "as its cause; or `MachineStopped`, `TransportError` or `UsageError`.",
    "Services": "See [Services](services.md).",
    "Metrics": "What your program counts and measures: see [Metrics](metrics.md).",
    "Data": "Plain, immutable values.",
    "Events": "What [observers](backends.md#observers) are told.",
    "Errors": "All that bigmachine raises by itself. They are also in `bigmachine.errors`.",
    "Backends": "For authors of backends: see [Backends](backends.md) and "
    "[Writing a backend](writing-a-backend.md).",
}
MODULES = {
    "bigmachine.system": "For authors of backends.",
    "bigmachine.boot": "For backends whose machines boot with none of the driver's code: see "
    "[Booting](booting.md).",
    "bigmachine.cloud": "For backends of clouds: see "
    "[Writing a backend](writing-a-backend.md#a-cloud).",
    "bigmachine.metrics": "The instruments, and what `variables` returns: see "
    "[Metrics](metrics.md).",
    "bigmachine.rpc": "For backends that reach their machines in a way of their own.",
    "bigmachine.profiling": "What a profile consists of: see [Profiling](profiling.md).",
    "bigmachine.environment": "What is sent to machines: see [Environment](environment.md).",
    "bigmachine.otel": 'Traces: see [Traces](traces.md). Needs `pip install "bigmachine[otel]"`.',
    "bigmachine.testing": "For tests of your own programs: see [Testing](testing.md).",
    "bigmachine.testing.faults": "Connections that break: see [Faults](faults.md).",
    "bigmachine.testing.conformance": "The conformance kit: see "
    "[Writing a backend](writing-a-backend.md#the-fixture).",
}
RPC = ["http_client", "MachineClient", "Connect", "open_listeners"]  # the rest is core's own
CONSTRUCTED = {  # by users, and by authors of backends
    *("Session", "AsyncSession", "InProcessSystem", "Faults"),
    *("Access", "Batch", "CloudError", "Launch", "MetadataClient", "RateLimiter"),
    "SessionResources",
}
HIDDEN = {"hookspec", "logger", "on_machine", "kit"}


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A part of the page: ``module`` is where its ``names`` are imported from."""

    title: str
    module: str
    names: list[str]
    introduction: str


def chapters() -> list[Chapter]:
    """Return the chapters, which together have every public name once."""
    found = []
    for title, introduction in PARTS.items():
        names = [name for name in bm.__all__ if _part(name, getattr(bm, name)) == title]
        names.sort(key=lambda name: name.startswith("Async"))  # what most people use comes first
        found.append(Chapter(title, "bigmachine", names, introduction))
    shown = set(bm.__all__)
    for module, introduction in MODULES.items():
        names = public_names(module)
        also = ", ".join(f"`{name}`" for name in names if name in shown)
        if also:
            introduction += f" Also here: {also}."
        names = [name for name in names if name not in shown]
        found.append(Chapter(f"`{module}`", module, names, introduction))
        shown.update(names)
    return found


def _part(name: str, value: Any) -> str:
    if name in ("Session", "AsyncSession", "PeerSession", "AsyncPeerSession"):
        return "Sessions"
    if name in ("Machine", "AsyncMachine", "Stream", "AsyncStream"):
        return "Machines"
    if name in ("parallel", "concurrent", "exclusive"):
        return "Services"
    if name in ("counter", "gauge", "histogram"):
        return "Metrics"
    if isinstance(value, type) and issubclass(value, BaseException):
        return "Errors"
    if isinstance(value, type) and issubclass(value, bm.Event):
        return "Events"
    is_data = dataclasses.is_dataclass(value) or isinstance(value, enum.EnumType)
    is_ours = value.__module__.startswith(("bigmachine.system", "bigmachine.boot"))
    return "Data" if is_data and not is_ours else "Backends"


def public_names(module: str) -> list[str]:
    """Return what a module defines or re-exports (``from .x import Y as Y``), in its order."""
    if module == "bigmachine.rpc":
        return RPC
    tree = _tree(importlib.import_module(module))
    names = {name for node in tree.body for name in _defined(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names if alias.asname == alias.name}
    return sorted(name for name in names - HIDDEN if not name.startswith("_"))


def page() -> str:
    """Return the whole page."""
    made = chapters()
    links: dict[str, str] = {}
    for name in [name for chapter in made for name in chapter.names]:
        # GitHub numbers headings that differ in capitals only, such as `counter` and `Counter`.
        links[name] = name.lower() + ("-1" if name.lower() in links.values() else "")
    parts = [HEAD]
    for chapter in made:
        names = ", ".join(f"[`{name}`](#{links[name]})" for name in chapter.names)
        parts.append(f"* [{chapter.title}](#{_anchor(chapter.title)}): {names}\n")
    parts.append("* [Command line](#command-line)\n")
    text = parts[0] + "\n" + "".join(parts[1:])
    for chapter in made:
        text += f"\n## {chapter.title}\n\n{_wrapped(_linked(chapter.introduction, links))}\n"
        for name in chapter.names:
            text += f"\n### `{name}`\n\n{_entry(chapter.module, name, links)}"
    return text + "\n" + COMMANDS


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _entry(module: str, name: str, links: dict[str, str]) -> str:
    value = getattr(importlib.import_module(module), name)
    if isinstance(value, type):
        return _class_entry(value, links)
    if inspect.isfunction(inspect.unwrap(value)):
        node = _node(inspect.unwrap(value))
        return f"```py\n{_call(node)}\n```\n\n{_markdown(_doc(node), links)}\n"
    code, doc = _constant(name, value)
    return f"```py\n{code}\n```\n" + (f"\n{_markdown(doc, links)}\n" if doc else "")


# -- classes ------------------------------------------------------------------------------------


def _class_entry(cls: type, links: dict[str, str]) -> str:
    node = _node(cls)
    bases = [base.__name__ for base in cls.__bases__ if base.__name__ in links]
    if dataclasses.is_dataclass(cls):
        head = _laid_out(f"class {cls.__name__}", _fields(cls), "")
    elif cls.__name__ in CONSTRUCTED:
        [init] = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        head = _laid_out(f"class {cls.__name__}", _arguments(init.args)[1:], "")
    else:
        head = f"class {cls.__name__}" + (f"({', '.join(bases)})" if bases else "")
    text = f"```py\n{head}\n```\n\n{_markdown(_doc(node), links)}\n"
    if dataclasses.is_dataclass(cls) and bases:
        text += f"\nA {_linked(f'`{bases[0]}`', links)}.\n"
    for title, doc in _members(cls, links):
        body = textwrap.indent(_markdown(doc, links), "  ")
        text += f"\n* **`{title}`**" + (f"\n\n{body}\n" if doc else "\n")
    return text


def _members(cls: type, links: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the public members: the class's own, and those of bases that have no entry."""
    seen: set[str] = set()
    for owner in cls.__mro__:
        ours = owner.__module__.startswith("bigmachine")
        if not ours or (owner is not cls and owner.__name__ in links):
            continue
        for name, title, doc in _members_of(owner):
            is_hook = (
                issubclass(cls, bm.System) and cls is not bm.System and name in vars(bm.System)
            )
            if name not in seen | HIDDEN and not is_hook and not name.startswith(("_", "test_")):
                seen.add(name)
                yield title, doc


def _members_of(cls: type) -> Iterator[tuple[str, str, str]]:
    node = _node(cls)
    is_data = dataclasses.is_dataclass(cls)
    for item, following in zip(node.body, [*node.body[1:], None], strict=True):
        doc = _string(following)
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = {_source(decorator) for decorator in item.decorator_list}
            if any(d.endswith(".setter") or d.startswith("hookimpl") for d in decorators):
                continue
            if item.name == "__init__":
                yield from _attributes(item)
            elif decorators & {"property", "functools.cached_property"}:
                returns = f": {_source(item.returns)}" if item.returns else ""
                yield item.name, f"{item.name}{returns}", _doc(item)
            else:
                kind = "classmethod " if "classmethod" in decorators else ""
                yield item.name, kind + _call(item, method=True, one_line=True), _doc(item)
        elif isinstance(item, ast.AnnAssign) and (doc or not is_data):
            yield _source(item.target), _plain(_source(item)), doc
        elif isinstance(item, ast.Assign) and issubclass(cls, enum.Enum):
            yield _source(item.targets[0]), _source(item), doc


def _attributes(init: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str, str]]:
    """Yield the attributes that ``__init__`` sets and a docstring describes."""
    for item, following in zip(init.body, [*init.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign) and _string(following):
            name = _source(item.target).removeprefix("self.")
            yield name, f"{name}: {_source(item.annotation)}", _string(following)


def _fields(cls: type) -> list[str]:
    """Return a dataclass's fields as the arguments that make it."""
    fields = []
    for owner in reversed(cls.__mro__):
        if dataclasses.is_dataclass(owner):
            for item in _node(owner).body:
                if isinstance(item, ast.AnnAssign) and "ClassVar" not in _source(item):
                    name, annotation = _source(item.target), _source(item.annotation)
                    fields.append(_argument(name, annotation, _default(item.value)))
    if any(field.kw_only for field in dataclasses.fields(cls)):
        fields.insert(0, "*")
    return fields


def _default(value: ast.expr | None) -> str | None:
    """Return a field's default; of ``field(…)`` the one that it makes."""
    if value is None:
        return None
    text = _source(value)
    if not text.startswith(("field(", "option(", "bm.option(")):
        return text
    assert isinstance(value, ast.Call)
    for keyword in value.keywords:
        if keyword.arg == "default":
            return _source(keyword.value)
        if keyword.arg == "default_factory":
            return {"dict": "{}", "list": "[]"}.get(_source(keyword.value), "…")
    return _source(value.args[0]) if value.args else None


# -- signatures ---------------------------------------------------------------------------------


def _call(
    node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool = False, one_line: bool = False
) -> str:
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    returns = f" -> {_source(node.returns)}" if node.returns else ""
    arguments = _arguments(node.args)[1 if method else 0 :]
    if one_line:
        return f"{prefix}{node.name}({', '.join(arguments)}){returns}"
    return _laid_out(f"{prefix}def {node.name}", arguments, returns)


def _laid_out(name: str, arguments: list[str], returns: str) -> str:
    """Return ``name(arguments)``, with a line for each argument if one line is not enough."""
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= 88:
        return line if arguments or returns else name
    return f"{name}(\n" + "".join(f"    {a},\n" for a in arguments) + f"){returns}"


def _arguments(arguments: ast.arguments) -> list[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    found = [
        _argument_of(argument, default)
        for argument, default in zip(positional, [*missing, *arguments.defaults], strict=True)
    ]
    if len(arguments.posonlyargs) > 1:  # more than `self`
        found.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg and not _is_for_errors(arguments.vararg):
        found.append("*" + _argument_of(arguments.vararg, None))
    elif arguments.kwonlyargs:
        found.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append(_argument_of(argument, default))
    if arguments.kwarg and not _is_for_errors(arguments.kwarg):
        found.append("**" + _argument_of(arguments.kwarg, None))
    return found


def _is_for_errors(argument: ast.arg) -> bool:
    """Whether it takes what nobody may give, so that the error can say what to write."""
    return argument.annotation is not None and _source(argument.annotation) == "Never"


def _argument_of(argument: ast.arg, default: ast.expr | None) -> str:
    annotation = _source(argument.annotation) if argument.annotation else ""
    return _argument(argument.arg, annotation, None if default is None else _source(default))


def _argument(name: str, annotation: str, default: str | None) -> str:
    if not annotation:
        return name if default is None else f"{name}={default}"
    return f"{name}: {annotation}" + ("" if default is None else f" = {default}")


def _plain(assignment: str) -> str:
    """Return ``name: type = value`` without the ``ClassVar``, which says nothing to a reader."""
    return re.sub(r"ClassVar\[(.*?)\]( = |$)", r"\1\2", assignment)


# -- docstrings ---------------------------------------------------------------------------------


def _markdown(doc: str, links: dict[str, str]) -> str:
    """Turn a docstring of ours into Markdown: literals, references, examples after ``::``."""
    parts = re.split(r"^(.*)::\n\n((?:[ ]{4}.*\n|\n)+)", doc + "\n", flags=re.MULTILINE)
    text = _linked(parts[0], links)
    for before, code, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        text += _linked(f"{before}:\n\n" if before else "", links)
        text += f"```py\n{textwrap.dedent(code).strip()}\n```\n\n" + _linked(after, links)
    return text.strip("\n")


def _linked(text: str, links: dict[str, str]) -> str:
    """Make literals of double backquotes, and links of the names that have an entry."""

    def replace(match: re.Match[str]) -> str:
        literal, name = match.groups()
        if literal is not None:
            return f"`{literal}`"
        parts = name.split(".")
        if len(parts) > 1 and parts[0] in sys.stdlib_module_names:  # concurrent.futures.wait
            return f"`{name}`"
        target = next((part for part in reversed(parts) if part in links), None)
        return f"[`{name}`](#{links[target]})" if target else f"`{name}`"

    return re.sub(r"``(.+?)``|(?<!`)`([^`\n]+)`(?!`)", replace, text, flags=re.DOTALL)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


# -- the source ---------------------------------------------------------------------------------


def _node(value: Any) -> Any:  # Any: a ClassDef of a class, a FunctionDef of a function
    module = sys.modules[value.__module__]
    body = reversed(_tree(module).body)  # the last one, after the overloads
    return next(node for node in body if getattr(node, "name", "") == value.__name__)


@functools.cache
def _tree(module: ModuleType) -> ast.Module:
    assert module.__file__
    return ast.parse(Path(module.__file__).read_text())


def _source(node: ast.AST) -> str:
    """Return the source of a node, with double quotes, as we write it."""
    return re.sub(r"'([^'\"]*)'", r'"\1"', ast.unparse(node))


def _doc(node: Any) -> str:  # Any: whatever `ast.get_docstring` takes
    return ast.get_docstring(node) or ""


def _string(node: ast.stmt | None) -> str:
    """Return the docstring that an attribute has as the statement after it."""
    is_string = (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
    return inspect.cleandoc(node.value.value) if is_string else ""  # type: ignore[union-attr]


def _constant(name: str, value: object) -> tuple[str, str]:
    """Return the assignment of a constant, and its docstring."""
    for module in _ours():
        body = _tree(module).body
        for item, following in zip(body, [*body[1:], None], strict=True):
            if name in _defined(item) and getattr(module, name) is value:
                return _source(item), _string(following)
    raise LookupError(name)


def _ours() -> Iterable[ModuleType]:
    return [m for name, m in sorted(sys.modules.items()) if name.startswith("bigmachine.") and m]


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [_source(target) for target in node.targets]
    return [_source(node.target)] if isinstance(node, ast.AnnAssign) else []


if __name__ == "__main__":
    PAGE.write_text(page())
