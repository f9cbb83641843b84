"""``bigmachine env``: what of this computer would travel to the machines."""

from __future__ import annotations

import argparse
import heapq
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigmachine.environment import Environment, Folder, Problem, Target

_INDENT = 18  # of the second column
_NAMED = 3  # how many of a folder's files are named
_WORTH_NAMING_BYTES = 256 << 10


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "show what of this computer would travel to the machines, and how big it is"
    parser = commands.add_parser("env", help=text, description=text.capitalize() + ".")
    argument = parser.add_argument
    argument(
        "script",
        nargs="?",
        metavar="SCRIPT",
        help="the program, or a notebook's folder (default: this folder)",
    )
    argument(
        "--check",
        metavar="TARGET",
        help="say what can't be had on another platform, such as linux/x86_64/py3.11; "
        "the status is 1 if there is anything",
    )
    argument("--json", action="store_true", help="print JSON, for programs")
    for option, text in (
        ("--include", "what travels whatever a .gitignore says, by a pattern of its form"),
        ("--exclude", "what doesn't travel, by a pattern of the form of .gitignore"),
        ("--exclude-distribution", "an installed distribution that doesn't travel"),
    ):
        metavar = "NAME" if option == "--exclude-distribution" else "PATTERN"
        help = f"{text}; may be given again"
        argument(option, action="append", default=[], metavar=metavar, help=help)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what there is; the status is 1 if a target was given that can't have it all."""
    from bigmachine.environment import Target, capture

    target = Target.parse(arguments.check) if arguments.check else None
    environment = capture(
        arguments.script or os.getcwd(),
        include=arguments.include,
        exclude=arguments.exclude,
        exclude_distributions=arguments.exclude_distribution,
    )
    manifest = environment.manifest()
    problems = environment.check(target) if target else []
    if arguments.json:
        print(json.dumps(_describe(environment, manifest, target, problems), indent=2))
    else:
        print("\n".join(_text(environment, manifest)))
        if target:
            print("\n".join(_text_of_check(target, problems)))
    return 1 if problems else 0


def _describe(
    environment: Environment,
    manifest: dict[str, Any],  # Any: this is JSON
    target: Target | None,
    problems: Sequence[Problem],
) -> dict[str, Any]:
    from dataclasses import asdict

    with_index, without_index = _upload_bytes(environment, manifest)
    return {
        "platform": environment.target.platform,
        "origins": {
            each.name: {"origin": each.origin.value, "source": each.source}
            for each in environment.distributions
        },
        "upload_bytes": {"with_index": with_index, "without_index_at_most": without_index},
        "check": target
        and {"target": str(target), "problems": [asdict(problem) for problem in problems]},
        "manifest": {**manifest, "indexes": None},  # their URLs may hold passwords
    }


def _text(environment: Environment, manifest: dict[str, Any]) -> Iterator[str]:
    from bigmachine.environment import Origin, size_text

    yield _line("Python", environment.target.python)
    yield _line("platform", environment.target.platform)
    counts = Counter(each.origin for each in environment.distributions)
    kinds = [f"{counts[origin]} {_KINDS[origin.value]}" for origin in Origin if counts[origin]]
    yield _line("distributions", f"{len(environment.distributions)}: {', '.join(kinds)}")
    local = [
        (each.name, f"{entry['version']}, {each.origin.value}", entry["wheel"]["size"], each.source)
        for each, entry in zip(environment.distributions, manifest["distributions"], strict=True)
        if each.origin is not Origin.INDEX
    ]
    yield from _table([(a, b, f"{size_text(size)} wheel", d or "") for a, b, size, d in local])
    yield _line("folders", "" if environment.folders else "none")
    for folder in environment.folders:
        yield from _text_of_folder(folder)
    with_index, without_index = _upload_bytes(environment, manifest)
    yield _line("to upload", f"{size_text(with_index)}, to a machine that has a package index")
    yield _line("", f"at most {size_text(without_index)}, to one that has none")
    yield _line("digest", manifest["digest"])


_KINDS = {
    "index": "from an index",
    "editable": "editable",
    "folder": "from a local folder",
    "archive": "from an archive",
    "vcs": "from a repository",
}


def _text_of_folder(folder: Folder) -> Iterator[str]:
    from bigmachine.environment import size_text

    count = f"{len(folder.files)} file{'s' if len(folder.files) > 1 else ''}"
    yield f"  {folder.path}  {count}, {size_text(folder.size_bytes)}"
    biggest = heapq.nlargest(_NAMED, folder.files, key=lambda file: file.size_bytes)
    yield from _table(
        [
            (size_text(file.size_bytes), file.path)
            for file in biggest
            if file.size_bytes >= _WORTH_NAMING_BYTES
        ],
        indent=4,
    )


def _text_of_check(target: Target, problems: Sequence[Problem]) -> Iterator[str]:
    if not problems:
        yield _line("check", f"all of it can be had on {target}")
        return
    yield _line("check", f"{len(problems)} can't be had on {target}:")
    for problem in problems:
        yield f"  {problem}"


def _upload_bytes(environment: Environment, manifest: dict[str, Any]) -> tuple[int, int]:
    """Return how much goes to a machine that has an index, and at most to one without."""
    wheels = [entry["wheel"] for entry in manifest["distributions"] if entry["wheel"]]
    blobs = wheels + [blob for entry in manifest["folders"] for blob in entry["blobs"]]
    with_index = sum({blob["sha256"]: blob["size"] for blob in blobs}.values())
    packed = zip(environment.distributions, manifest["distributions"], strict=True)
    # A wheel is no bigger than its files; to pack them all, just to measure, takes seconds.
    rest = sum(each.size_bytes for each, entry in packed if not entry["wheel"])
    return with_index, with_index + rest


def _line(name: str, text: str) -> str:
    return f"{name:{_INDENT}}{text}".rstrip()


def _table(rows: Sequence[tuple[str, ...]], *, indent: int = 2) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield " " * indent + "  ".join(cells).rstrip()
