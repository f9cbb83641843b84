"""What of an environment can't be had on another platform, found out before a machine is bought."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ._distributions import Distribution, Origin
from ._target import Target
from ._tools import Outcome, find_pip, find_uv, run

_TAIL_LINES = 6
# uv's and pip's words when it is the index, not the distribution, that is missing.
_NO_ANSWER = (
    "Failed to fetch",
    "error sending request",
    "network was disabled",
    "lack of valid authentication",
    "Retrying (",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that can't be had on a target: a distribution, or ``python`` itself.

    ``required_by`` names the distributions that require it, on some platform.
    """

    name: str
    version: str
    reason: str
    required_by: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}: {self.reason}"


def find_problems(
    distributions: Sequence[Distribution],
    *,
    target: Target,
    wheel_name: Callable[[Distribution], str],
) -> list[Problem]:
    """List what can't be had on ``target``, in the order of ``distributions``.

    ``wheel_name`` gives the file name of the wheel that a distribution which is not from
    an index travels as. The others are looked for on the indexes that the user has set.

    Raises `UsageError` if there is neither uv nor pip, or no index answers.
    """
    here = Target.here()
    is_here = target == here
    reasons: dict[str, str] = {}
    # What can be packed can be had wherever this is.
    wanted = [
        distribution
        for distribution in distributions
        if distribution.origin is Origin.INDEX and not (is_here and distribution.has_record)
    ]
    reasons |= _look_up(wanted, target)
    if not is_here:
        for distribution in distributions:
            if distribution.origin is not Origin.INDEX:
                name = wheel_name(distribution)
                if not _fits(name, target):
                    reasons[distribution.name] = (
                        f"its wheel is for this platform only ({name}), and it comes from no "
                        "index; publish one for the target on an index, or make it pure Python"
                    )
    problems = [
        _problem(distribution, reasons[distribution.name], distributions)
        for distribution in distributions
        if distribution.name in reasons
    ]
    if target.python != here.python:
        reason = (
            f"the driver runs {here.python} and the target {target.python}, and code only travels "
            f"between equals; run the driver on {target.python}, or choose an image with "
            f"{here.python}"
        )
        problems.insert(0, Problem("python", here.python, reason))
    return problems


def _problem(
    distribution: Distribution, reason: str, distributions: Sequence[Distribution]
) -> Problem:
    required_by = tuple(
        other.name for other in distributions if distribution.name in other.requires
    )
    if required_by:
        reason += f" (required, on some platform, by {', '.join(required_by)})"
    else:
        reason += " (nothing installed requires it)"
    reason += f"; if the machines don't need it: exclude_distributions=[{distribution.name!r}]"
    return Problem(distribution.name, distribution.version, reason, required_by)


def _fits(wheel_name: str, target: Target) -> bool:
    """Say whether a pure-Python wheel is for the target; no other is taken for one."""
    python, abi, platform = wheel_name.removesuffix(".whl").split("-")[-3:]
    pythons = {"py3", f"py3{target.python.partition('.')[2]}"}
    return platform == "any" and abi == "none" and not pythons.isdisjoint(python.split("."))


def _look_up(distributions: Sequence[Distribution], target: Target) -> Mapping[str, str]:
    """Ask the indexes for wheels; return the reasons of what has none, by name."""
    if not distributions:
        return {}
    with tempfile.TemporaryDirectory(prefix="bigmachine-check-") as folder:
        return _halve(distributions, _command(target, Path(folder)))


def _halve(distributions: Sequence[Distribution], command: list[str]) -> dict[str, str]:
    """Find what can't be had by halves: one question is enough if all can."""
    outcome = run([*command, *(f"{each.name}=={each.version}" for each in distributions)])
    if outcome.status == 0:
        return {}
    if outcome.status < 0 or any(words in outcome.output for words in _NO_ANSWER):
        raise UsageError(
            "what the target can have can't be checked, as no package index answers; mend what uv "
            f"or pip says, or set an index for it:\n{outcome.tail(_TAIL_LINES)}"
        )
    if len(distributions) == 1:
        return {distributions[0].name: f"no wheel of it can be had: {_reason(outcome)}"}
    middle = len(distributions) // 2
    return _halve(distributions[:middle], command) | _halve(distributions[middle:], command)


def _reason(outcome: Outcome) -> str:
    text = " ".join(outcome.output.split())
    uv = re.search(r"Because (.*?)(?: and you require|, we can conclude)", text)
    pip = re.search(r"ERROR: (Could not find.*?\))", text)
    found = uv or pip
    return found[1] if found else outcome.tail(1).strip()


def _command(target: Target, folder: Path) -> list[str]:
    """Return the command that resolves the requirements added to it, and installs nothing."""
    uv, pip = find_uv(), find_pip()
    only_wheels = ["--dry-run", "--no-deps", "--only-binary", ":all:", "--target", str(folder)]
    if uv:
        command = [*uv, "pip", "install", "--python", sys.executable, *only_wheels]
        command += ["--python-platform", target.uv_platform, "--python-version", target.python]
        return command
    if pip:
        command = [*pip, "install", *only_wheels, "--implementation", "cp"]
        command += ["--python-version", target.python]
        return command + [f"--platform={platform}" for platform in target.pip_platforms]
    raise UsageError(
        f"what {target} can have can't be checked, as there is neither uv nor pip to ask a package "
        "index; pip install uv"
    )
