"""Which names metrics and labels may have: those that Prometheus takes without quotes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import UsageError

MAX_LABEL_CHARACTERS = 256
"""Longer values of labels are cut."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_RESERVED_LABELS = {
    "machine": "each value has it already: it names the machine",
    "le": "Prometheus uses it for the buckets of histograms",
    "quantile": "Prometheus uses it for quantiles",
}
# What the samples of each kind end with, in the text for Prometheus.
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def check_name(name: object, kind: str) -> str:
    """Return the name of a user's metric; `UsageError` says what a better one is."""
    if not isinstance(name, str):
        raise UsageError(f"a {kind} is called by a name, such as 'rows', not {name!r}")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"the {kind} {name!r}: a name has letters of ASCII, digits and underscores only, and "
            f"no digit first, as Prometheus wants it: {_valid(name)!r}, for instance"
        )
    if name.startswith("bigmachine_"):
        raise UsageError(f"the {kind} {name!r}: names with bigmachine_ are the library's own")
    if kind == "counter" and name.endswith("_total"):
        raise UsageError(
            f"the counter {name!r}: name it {name.removesuffix('_total')!r}; the text for "
            "Prometheus adds _total"
        )
    return name


def check_unit(unit: object, name: str) -> str:
    """Return the unit of a metric; `UsageError` if it can't be a part of the name."""
    if not isinstance(unit, str) or (unit and not _NAME.fullmatch("_" + unit)):
        raise UsageError(
            f"{name}: a unit is a word such as 'seconds' or 'bytes', with no other signs than "
            f"letters, digits and underscores, not {unit!r}"
        )
    return unit


def checked_labels(labels: Mapping[str, object], name: str) -> tuple[tuple[str, str], ...]:
    """Return labels in order of their names, with strings for values; `UsageError` if wrong."""
    for label in labels:
        if label in _RESERVED_LABELS:
            raise UsageError(f"{name}: no label may be called {label!r}: {_RESERVED_LABELS[label]}")
        if not _NAME.fullmatch(label) or label.startswith("__"):
            raise UsageError(
                f"{name}: a label can't be called {label!r}: it has letters of ASCII, digits and "
                f"single underscores in front; {_valid(label).lstrip('_')!r}, for instance"
            )
    return tuple(sorted((label, _text(value)) for label, value in labels.items()))


def family_name(name: str, unit: str) -> str:
    """Return the name in the text for Prometheus: it ends with the unit."""
    return name if not unit or name == unit or name.endswith(f"_{unit}") else f"{name}_{unit}"


def sample_names(name: str, unit: str, kind: str) -> list[str]:
    """Return the names that no other metric may have in the text for Prometheus."""
    family = family_name(name, unit)
    return [family, *(family + suffix for suffix in SUFFIXES[kind] if suffix)]


def _text(value: object) -> str:
    text = value if type(value) is str else str(value)
    if len(text) > MAX_LABEL_CHARACTERS:
        text = text[: MAX_LABEL_CHARACTERS - 1] + "…"
    # Half of a surrogate pair, as in the names of some files, can't be sent as text.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _valid(name: str) -> str:
    valid = re.sub(r"[^a-zA-Z0-9_]+", "_", name).strip("_") or "rows"
    return f"n_{valid}" if valid[0].isdigit() else valid
