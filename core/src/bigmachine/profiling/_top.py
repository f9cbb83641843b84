"""A profile as a table of text: what costs most, as ``go tool pprof -top`` prints it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from .._values import size_text
from ..errors import UsageError, sanitize_line
from ._samples import Frame, Samples, ValueType


@dataclass(frozen=True, slots=True)
class Row:
    """What a function, or a line, costs: ``flat`` by itself, ``cum`` with all that it calls."""

    frame: Frame
    flat: int
    cum: int


def top_rows(profile: Samples, *, by: str = "function", value: str = "") -> list[Row]:
    """Return a row for each function or line of a profile, the one with most of its own first."""
    if by not in _KEYS:
        raise UsageError(f"by is 'function' or 'line', not {by!r}")
    index, key = profile.index(value), _KEYS[by]
    flat: dict[Frame, int] = {}
    cum: dict[Frame, int] = {}
    for sample in profile.samples:
        cost = sample.values[index]
        frames = [key(frame) for frame in sample.stack]
        for frame in set(frames):  # once, however often it calls itself
            cum[frame] = cum.get(frame, 0) + cost
        if frames:
            flat[frames[0]] = flat.get(frames[0], 0) + cost
    rows = [Row(frame, flat.get(frame, 0), cost) for frame, cost in cum.items() if cost]
    return sorted(rows, key=lambda row: (-row.flat, -row.cum, row.frame.function))


def top_text(profile: Samples, *, limit: int, by: str, value: str) -> str:
    """Return the table for `Profile.top`."""
    rows = top_rows(profile, by=by, value=value)
    kind = profile.value_types[profile.index(value)]
    total = profile.total(value)
    text = [_title(profile, kind, total)]
    if rows:
        text.append(f"{'flat':>10} {'flat%':>6} {'sum%':>6} {'cum':>10} {'cum%':>6}  {by}")
    running = 0
    for row in rows[:limit]:
        running += row.flat
        text.append(
            f"{amount_text(row.flat, kind):>10} {_percent(row.flat, total)} "
            f"{_percent(running, total)} {amount_text(row.cum, kind):>10} "
            f"{_percent(row.cum, total)}  {sanitize_line(place_text(row.frame, by=by))}"
        )
    if len(rows) > limit:
        text.append(f"… and {len(rows) - limit} more")
    text += [f"not in it: {sanitize_line(f'{m}: {why}')}" for m, why in profile.failures.items()]
    text += [sanitize_line(note) for note in profile.notes]
    return "\n".join(text)


def amount_text(amount: int, kind: ValueType) -> str:
    """Return a value for people: ``"1.25 s"``, ``"4.2 MiB"``, ``"12,000"``."""
    if kind.unit == "bytes":
        return size_text(amount)
    if kind.unit != "nanoseconds":
        return f"{amount:,}"
    return f"{amount / 1e9:,.2f} s" if amount >= 1e9 else f"{amount / 1e6:.1f} ms"


def place_text(frame: Frame, *, by: str = "function") -> str:
    """Return where a frame is, for people: ``"CirclePI.sample  pi.py:39"``."""
    if not frame.file:
        return frame.function
    line = frame.line if by == "line" else frame.first_line
    place = os.path.basename(frame.file)
    return f"{frame.function}  {place}:{line}" if line else f"{frame.function}  {place}"


def _title(profile: Samples, kind: ValueType, total: int) -> str:
    title = f"{kind.type}: {amount_text(total, kind)}"
    if profile.period:
        title += f" in {profile.seconds:.1f} s"
    if machines := profile.machines:
        title += f" on {len(machines)} machine{'s' * (len(machines) != 1)}: {' '.join(machines)}"
    return title


def _percent(part: int, total: int) -> str:
    return f"{100 * part / total if total else 0:5.1f}%"


def _by_function(frame: Frame) -> Frame:
    return Frame(frame.function, frame.file, frame.first_line, frame.first_line)


def _by_line(frame: Frame) -> Frame:
    return frame


_KEYS: dict[str, Callable[[Frame], Frame]] = {"function": _by_function, "line": _by_line}
