"""Tracebacks that show the user's code: on a machine as text, and here as Python's own.

Left out are our frames, and those of the libraries that we call: an error of a method, or of its
caller, is not found there. A class of a script or a notebook is sent by value, so its source may
be nowhere but at the driver, which adds the lines.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import linecache
import logging
import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, TracebackType
from typing import ParamSpec, TypeVar

from ..errors import BigmachineError, RemoteError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_logger = logging.getLogger("bigmachine")

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
# Where our backends are, if they are installed in place from a clone, which has us in core/src/.
_BACKENDS = os.path.normpath(os.path.join(_OURS, *[os.pardir] * 3, "plugins")) + os.sep
_STDLIB = os.path.dirname(os.__file__) + os.sep
_SITE = re.compile(r"[\\/](?:site|dist)-packages[\\/]")
_LIBRARIES = re.compile(
    _SITE.pattern + r"(?:trio|outcome|cloudpickle|pluggy|httpx|httpcore|h11|bigmachine\w*)[\\/]"
)

# A frame, in a group perhaps behind bars; its source line follows, two spaces further in.
_FRAME = re.compile(r'^(?P<margin>[ |+\-]*)  File "(?P<file>.+)", line (?P<line>\d+), in ')


def format_traceback(exc: BaseException) -> str:
    """Return the traceback of an exception that a user's method raised; never fails."""
    try:
        report = traceback.TracebackException.from_exception(exc)
        for each in _with_causes(report):
            frames = user_frames((frame.filename, frame) for frame in each.stack)
            if frames or each is not report or isinstance(exc, BigmachineError):
                each.stack = traceback.StackSummary.from_list(frames)
        return "".join(report.format())
    except Exception:
        return ""


def with_source_lines(text: str) -> str:
    """Add source lines that the machine could not read, where this process can."""
    completed = []
    for line, following in itertools.pairwise([*text.splitlines(keepends=True), ""]):
        completed.append(line)
        frame = _FRAME.match(line)
        if frame is not None and not following.startswith(frame["margin"] + "    "):
            with contextlib.suppress(ValueError):  # it is no name of a file
                if source := linecache.getline(frame["file"], int(frame["line"])).strip():
                    completed.append(f"{frame['margin']}    {source}\n")
    return "".join(completed)


def short_tracebacks(cls: type[T]) -> type[T]:
    """Decorate a class: what its public methods raise has a short traceback."""
    for name, attribute in [*vars(cls).items()]:
        if name.startswith("_") and name not in _PUBLIC:
            continue
        if isinstance(attribute, FunctionType):
            setattr(cls, name, short_traceback(attribute))
        elif isinstance(attribute, property) and attribute.fget is not None:
            setattr(cls, name, property(short_traceback(attribute.fget), doc=attribute.__doc__))
    return cls


_PUBLIC = frozenset({"__init__", "__enter__", "__exit__", "__next__"})


def short_traceback(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: what it raises has a short traceback."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except BaseException as exc:
            shorten_traceback(exc)
            raise

    return call


def shorten_traceback(exc: BaseException) -> None:
    """Leave only the user's frames in the tracebacks of an exception and of its causes.

    But all of them if it is a fault of ours, or if the logger ``bigmachine`` is at DEBUG.
    """
    frames = [*_walk(exc.__traceback__)]
    # Ctrl-C comes wherever it may, and so most of all where we wait.
    is_expected = isinstance(exc, (BigmachineError, OSError, KeyboardInterrupt)) or isinstance(
        exc.__cause__, RemoteError
    )
    if _logger.isEnabledFor(logging.DEBUG) or not (
        is_expected or not frames or not _is_ours(_file(frames[-1]))
    ):
        return
    for each in exception_chain(exc):
        frames = [*_walk(each.__traceback__)]
        shortened = None
        for tb in reversed(user_frames((_file(tb), tb) for tb in frames)):
            shortened = TracebackType(shortened, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
        each.with_traceback(shortened)


def has_user_frames(exc: BaseException) -> bool:
    """Whether any code of the user's was running when an exception was raised."""
    return bool(user_frames((_file(tb), tb) for tb in _walk(exc.__traceback__)))


def user_frames(frames: Iterable[tuple[str, T]]) -> list[T]:
    """Return the frames whose file is the user's, or a library's that the user's code called."""
    kept = []
    is_below_ours = True
    for file, frame in frames:
        if _is_ours(file):
            is_below_ours = True
        elif not (is_below_ours and _is_library(file)):
            is_below_ours = False
            kept.append(frame)
    return kept


def _is_ours(file: str) -> bool:
    return file.startswith(_OURS)


def _is_library(file: str) -> bool:
    """Whether it is Python's, or of a library that we use."""
    if file.startswith(("<frozen ", _BACKENDS)) or _LIBRARIES.search(file):
        return True
    return file.startswith(_STDLIB) and not _SITE.search(file)


def _file(tb: TracebackType) -> str:
    return tb.tb_frame.f_code.co_filename


def _walk(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def exception_chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its causes and contexts, and their members if they are groups."""
    seen = {id(exc)}
    found = [exc]
    for each in found:  # it grows meanwhile
        yield each
        members = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        for other in (each.__cause__, each.__context__, *members):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                found.append(other)


def _with_causes(
    report: traceback.TracebackException,
) -> Iterator[traceback.TracebackException]:
    found = [report]
    for each in found:
        yield each
        others = (each.__cause__, each.__context__, *(getattr(each, "exceptions", None) or ()))
        found.extend(other for other in others if other is not None)
