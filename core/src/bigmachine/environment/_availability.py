"""Which distributions are not available on another platform; checked before machines start."""

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
# What uv and pip print if no index answers, as opposed to an index without the distribution.
_NO_ANSWER = (
    "Failed to fetch",
    "error sending request",
    "network was disabled",
    "lack of valid authentication",
    "Retrying (",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not available for a target: a distribution, or ``python`` itself.

    ``required_by`` names the distributions that require it, on any platform.
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
    """List what is not available for ``target``, in the order of ``distributions``.

    ``wheel_name`` returns the file name of the wheel of a distribution that is not from an
    index. The others are looked up on the indexes that the user has configured.

    Raises `UsageError` if there is neither uv nor pip, or no index answers.
    """
    here = Target.here()
    is_here = target == here
    reasons: dict[str, str] = {}
    # On this platform, whatever can be packed is available.
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
                        f"its wheel is for this platform only ({name}), and it is not from an "
                        "index; publish one for the target on an index, or make it pure Python"
                    )
    problems = [
        _problem(distribution, reasons[distribution.name], distributions)
        for distribution in distributions
        if distribution.name in reasons
    ]
    if target.python != here.python:
        reason = (
            f"the driver runs {here.python} and the target {target.python}, but pickled code needs "
            f"the same version; run the driver on {target.python}, or choose an image with "
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
        reason += f" (required, on some platforms, by {', '.join(required_by)})"
    else:
        reason += " (nothing installed requires it)"
    reason += f"; if the machines do not need it: exclude_distributions=[{distribution.name!r}]"
    return Problem(distribution.name, distribution.version, reason, required_by)


def _fits(wheel_name: str, target: Target) -> bool:
    """Return whether the wheel is pure Python and for the target's version."""
    python, abi, platform = wheel_name.removesuffix(".whl").split("-")[-3:]
    pythons = {"py3", f"py3{target.python.partition('.')[2]}"}
    return platform == "any" and abi == "none" and not pythons.isdisjoint(python.split("."))


def _look_up(distributions: Sequence[Distribution], target: Target) -> Mapping[str, str]:
    """Ask the indexes for wheels; return why there is none, by distribution."""
    if not distributions:
        return {}
    with tempfile.TemporaryDirectory(prefix="bigmachine-check-") as folder:
        return _bisect(distributions, _command(target, Path(folder)))


def _bisect(distributions: Sequence[Distribution], command: list[str]) -> dict[str, str]:
    """Find what is not available by bisection: if all are, one query is enough."""
    outcome = run([*command, *(f"{each.name}=={each.version}" for each in distributions)])
    if outcome.status == 0:
        return {}
    if outcome.status < 0 or any(words in outcome.output for words in _NO_ANSWER):
        raise UsageError(
            "cannot check what is available for the target: no package index answers; solve the "
            f"problem that uv or pip reports, or configure an index:\n{outcome.tail(_TAIL_LINES)}"
        )
    if len(distributions) == 1:
        return {distributions[0].name: f"no wheel is available: {_reason(outcome)}"}
    middle = len(distributions) // 2
    return _bisect(distributions[:middle], command) | _bisect(distributions[middle:], command)


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
        f"cannot check what is available for {target}: there is neither uv nor pip to query a "
        "package index; pip install uv"
    )
