"""``bigmachine env``: what would be sent from this computer to the machines."""

from __future__ import annotations

import argparse
import heapq
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ._arguments import add_profile

if TYPE_CHECKING:
    from ..environment import Environment, Folder, LeftOut, Problem, Target

_MAX_NAMED = 3  # files of a folder
_MAX_SECRETS = 20
_UNSURPRISING = ("generated", "ignored", "excluded")  # reasons to leave out
_LARGE_BYTES = 256 << 10  # smaller files are not named


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "show what would be sent from this computer to the machines, and its size"
    parser = commands.add_parser("env", help=text, description=text.capitalize() + ".")
    argument = parser.add_argument
    argument(
        "script",
        nargs="?",
        metavar="SCRIPT",
        help="the program, or the folder of a notebook (default: the current folder)",
    )
    argument(
        "--check",
        metavar="TARGET",
        help="list what is not available for another platform, such as linux/x86_64/py3.11; "
        "the exit status is 1 if there is anything",
    )
    argument("--json", action="store_true", help="print JSON, for programs")
    add_profile(parser)
    for option, text in (
        ("--include", "a pattern of files to send although they would be left out"),
        ("--exclude", "a pattern of files not to send, in the format of .gitignore"),
        ("--exclude-distribution", "an installed distribution not to send"),
    ):
        metavar = "NAME" if option == "--exclude-distribution" else "PATTERN"
        help = f"{text}; may be repeated"
        argument(option, action="append", default=[], metavar=metavar, help=help)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the environment; the status is 1 if something is not available for the target."""
    from ..environment import Target, capture
    from ..system._options import environment_options

    target = Target.parse(arguments.check) if arguments.check else None
    options = environment_options(None, is_shipped=True, profile=arguments.profile)
    environment = capture(
        arguments.script or _current_folder(),
        include=[*options.include, *arguments.include],
        exclude=[*options.exclude, *arguments.exclude],
        exclude_distributions=[*options.exclude_distributions, *arguments.exclude_distribution],
        limit_bytes=options.limit_bytes,
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


def _current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current folder was deleted: change to another one") from None


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
        "left_out": [asdict(each) for each in environment.left_out],
        "check": target
        and {"target": str(target), "problems": [asdict(problem) for problem in problems]},
        "manifest": {**manifest, "indexes": None},  # their URLs may hold passwords
    }


def _text(environment: Environment, manifest: dict[str, Any]) -> Iterator[str]:
    from .._values import size_text
    from ..environment import Origin
    from ._table import labeled, table

    yield labeled("Python", environment.target.python)
    yield labeled("platform", environment.target.platform)
    counts = Counter(each.origin for each in environment.distributions)
    kinds = [f"{counts[origin]} {_KINDS[origin.value]}" for origin in Origin if counts[origin]]
    yield labeled("distributions", f"{len(environment.distributions)}: {', '.join(kinds)}")
    local = [
        (each.name, f"{entry['version']}, {each.origin.value}", entry["wheel"]["size"], each.source)
        for each, entry in zip(environment.distributions, manifest["distributions"], strict=True)
        if each.origin is not Origin.INDEX
    ]
    yield from table([(a, b, f"{size_text(size)} wheel", d or "") for a, b, size, d in local])
    yield labeled("folders", "" if environment.folders else "none")
    for folder in environment.folders:
        yield from _text_of_folder(folder)
    yield from _text_of_left_out(environment.left_out)
    with_index, without_index = _upload_bytes(environment, manifest)
    yield labeled("to upload", f"{size_text(with_index)}, to a machine that has a package index")
    yield labeled("", f"at most {size_text(without_index)}, to one that has none")
    yield labeled("digest", manifest["digest"])


_KINDS = {
    "index": "from an index",
    "editable": "editable",
    "folder": "from a local folder",
    "archive": "from an archive",
    "vcs": "from a repository",
}


def _text_of_folder(folder: Folder) -> Iterator[str]:
    from .._values import size_text
    from ..environment._messages import printable
    from ._table import count_text, table

    count = count_text(len(folder.files), "file")
    yield f"  {printable(str(folder.path))}  {count}, {size_text(folder.size_bytes)}"
    largest = heapq.nlargest(_MAX_NAMED, folder.files, key=lambda file: file.size_bytes)
    large = [file for file in largest if file.size_bytes >= _LARGE_BYTES]
    rows = [(size_text(file.size_bytes), printable(file.path)) for file in large]
    yield from table(rows, indent=4)


def _text_of_left_out(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """Yield what is not sent and why: every secret and link, some of what nobody will miss."""
    from ..environment import Reason
    from ..environment._messages import printable
    from ._table import labeled, table

    if not left_out:
        return
    yield labeled("not sent", f"{len(left_out)}:" if len(left_out) > 1 else "")
    for place in dict.fromkeys(each.place for each in left_out):
        yield f"  {printable(place)}"
        rows = []
        for reason in Reason:
            found = [each for each in left_out if (each.place, each.reason) == (place, reason)]
            most = _MAX_NAMED if reason in _UNSURPRISING else _MAX_SECRETS
            rows += [(printable(each.path), each.why) for each in found[:most]]
            if len(found) > most:
                rows.append((f"and {len(found) - most} more", f"{reason}"))
        yield from table(rows, indent=4)
    yield "  To send one, name it: --include /PATH; in a program, EnvironmentOptions(include=…)"


def _text_of_check(target: Target, problems: Sequence[Problem]) -> Iterator[str]:
    from ._table import labeled

    if not problems:
        yield labeled("check", f"everything is available for {target}")
        return
    yield labeled("check", f"{len(problems)} not available for {target}:")
    for problem in problems:
        yield f"  {problem}"


def _upload_bytes(environment: Environment, manifest: dict[str, Any]) -> tuple[int, int]:
    """Return how much is sent to a machine with an index, and at most to one without."""
    wheels = [entry["wheel"] for entry in manifest["distributions"] if entry["wheel"]]
    blobs = wheels + [blob for entry in manifest["folders"] for blob in entry["blobs"]]
    with_index = sum({blob["sha256"]: blob["size"] for blob in blobs}.values())
    packed = zip(environment.distributions, manifest["distributions"], strict=True)
    # A wheel is not larger than its files; packing them all to measure would take seconds.
    rest = sum(each.size_bytes for each, entry in packed if not entry["wheel"])
    return with_index, with_index + rest
