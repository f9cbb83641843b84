"""A thread dump: what each thread and each task of the machines does, or waits in."""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .._values import show_in_notebook
from ..errors import UsageError, sanitize_line
from ._profile import Profile
from ._samples import Frame, Sample, ValueType

VALUE_TYPES = (ValueType("threads", "count"),)


@dataclass(frozen=True, slots=True)
class ThreadStack:
    """What one thread or task of a machine does.

    ``kind`` is ``"thread"`` or ``"task"``. ``method`` is the service method that it runs for a
    call, ``"PI.sample"``; empty if it runs none. ``is_running`` tells whether a thread has used a
    processor just now; a task that waits is not running. ``frames`` has the innermost frame first,
    ``source`` the line of each, or ``""``, and ``is_users`` whether it is the user's code, or a
    library that the user's code has called.
    """

    kind: str
    name: str
    frames: tuple[Frame, ...]
    source: tuple[str, ...]
    is_users: tuple[bool, ...]
    is_running: bool = False
    method: str = ""
    machine: str = ""

    def __str__(self) -> str:
        """Return it for people, the innermost frame last, as in a traceback."""
        return f"{_heading([self])}\n{_body(self, full=True)}"


@dataclass(frozen=True, slots=True)
class ThreadDump:
    """What each thread and each trio task of the machines does, or waits in.

    Made by `Session.threads` and `Machine.threads`. ``print`` it: equal stacks are shown once.
    ``failures`` has the machines that are not part of it, by name, and why.
    """

    stacks: tuple[ThreadStack, ...]
    taken_at: float
    """When, in seconds since 1970."""
    failures: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<ThreadDump: {self._counts()}>"

    _repr_pretty_ = show_in_notebook

    def __str__(self) -> str:
        """Return `text`."""
        return self.text()

    def text(self, *, full: bool = False, hint: str = "text(full=True)") -> str:
        """Return it for people: what runs first, then methods that wait, then all else.

        Only the user's code is shown, and what it has called; with ``full``, each frame of each
        stack. ``hint`` is where the reader finds those that are not shown.
        """
        groups: dict[tuple[object, ...], list[ThreadStack]] = {}
        shown = [stack for stack in self.stacks if full or _is_users(stack)]
        for stack in shown:
            key = (stack.kind, stack.is_running, stack.method, _shown(stack, full=full))
            groups.setdefault(key, []).append(stack)
        ordered = sorted(
            groups.values(),
            key=lambda group: (not group[0].is_running, not group[0].method, -len(group)),
        )
        parts = [self._counts()]
        parts += [f"{_heading(group)}\n{_body(group[0], full=full)}".strip() for group in ordered]
        if len(shown) < len(self.stacks):
            others = [stack for stack in self.stacks if not _is_users(stack)]
            parts.append(f"{_kinds(others)} run no code of yours; {hint} shows them")
        parts += [sanitize_line(f"not in it: {m}: {why}") for m, why in self.failures.items()]
        return "\n\n".join(parts)

    def labelled(self, *, machine: str) -> ThreadDump:
        """Return it as that of a machine."""
        return replace(self, stacks=tuple(replace(s, machine=machine) for s in self.stacks))

    def filter(self, *, machine: str) -> ThreadDump:
        """Return that of one machine only."""
        stacks = tuple(stack for stack in self.stacks if stack.machine == machine)
        return replace(self, stacks=stacks)

    @classmethod
    def merge(cls, dumps: Iterable[ThreadDump]) -> ThreadDump:
        """Return one dump of several machines; `UsageError` if there is none."""
        dumps = [*dumps]
        if not dumps:
            raise UsageError("there is no thread dump to merge")
        return cls(
            stacks=tuple(stack for dump in dumps for stack in dump.stacks),
            taken_at=min(dump.taken_at for dump in dumps),
            failures={name: why for dump in dumps for name, why in dump.failures.items()},
        )

    def to_profile(self) -> Profile:
        """Return it as a profile that counts threads and tasks, to save it in pprof's format."""
        samples = (
            Sample(
                stack.frames,
                (1,),
                tuple(
                    (key, value)
                    for key, value in (
                        ("kind", stack.kind),
                        ("machine", stack.machine),
                        ("method", stack.method),
                        ("thread", stack.name),
                    )
                    if value
                ),
            )
            for stack in self.stacks
        )
        return Profile(VALUE_TYPES, tuple(samples), self.taken_at, 0.0, failures=self.failures)

    def _counts(self) -> str:
        machines = {stack.machine: None for stack in self.stacks if stack.machine}
        counts = _kinds(self.stacks)
        if machines:
            counts += f" on {_count(len(machines), 'machine')}: {' '.join(machines)}"
        return counts


def _is_users(stack: ThreadStack) -> bool:
    """Whether it runs code of the user's; for a parallel method, in another process."""
    is_method = bool(stack.method) and not stack.method.startswith("Supervisor.")
    return is_method or any(stack.is_users)


def _kinds(stacks: Sequence[ThreadStack]) -> str:
    kinds = [stack.kind for stack in stacks]
    return f"{_count(kinds.count('thread'), 'thread')}, {_count(kinds.count('task'), 'task')}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _heading(group: list[ThreadStack]) -> str:
    """Return ``"2 threads run PI.sample: m0 bigmachine-1, m1 bigmachine-1"``."""
    first, is_one = group[0], len(group) == 1
    what = f"1 {first.kind}" if is_one else _count(len(group), first.kind)
    verb = ("runs" if first.is_running else "waits") if is_one else None
    verb = verb or ("run" if first.is_running else "wait")
    if first.method:
        verb += f" {first.method}" if first.is_running else f" in {first.method}"
    names = ", ".join(f"{stack.machine} {stack.name}".strip() for stack in group)
    return sanitize_line(f"{what} {verb}: {names}")


def _body(stack: ThreadStack, *, full: bool) -> str:
    lines: list[str] = []
    for (frame, source), same in itertools.groupby(reversed(_shown(stack, full=full))):
        # A machine lacks the files of code that was sent by value.
        source = source or linecache.getline(frame.file, frame.line).strip()
        entry = [f"  {frame.function}"]
        if frame.file:
            entry = [f'  File "{frame.file}", line {frame.line}, in {frame.function}']
            entry += [f"    {source}"] if source else []
        count = len([*same])
        lines += entry * min(count, _MAX_REPEATED)
        if count > _MAX_REPEATED:
            lines.append(f"  [Previous line repeated {count - _MAX_REPEATED} more times]")
    return "\n".join(map(sanitize_line, lines))


def _shown(stack: ThreadStack, *, full: bool) -> tuple[tuple[Frame, str], ...]:
    """Return the frames that are shown, each with its source line, the innermost first."""
    frames = zip(stack.frames, stack.source, stack.is_users, strict=True)
    return tuple((frame, source) for frame, source, is_users in frames if full or is_users)


_MAX_REPEATED = 3  # calls of itself that are shown, as in Python's tracebacks
