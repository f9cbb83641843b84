"""All instruments of this process by name: how they are made, read, and passed on."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar, cast

from ..errors import UsageError
from ._instruments import Counter, Family, Gauge, Histogram, Instrument, Labels
from ._names import check_name, check_unit, sample_names

logger = logging.getLogger("bigmachine.metrics")

MAX_NAMES = 1000
"""How many metrics a process may have; further ones are not shown anywhere."""

I = TypeVar("I", bound=Instrument)  # noqa: E741
# Kind, name, help, unit, labels, and what `Instrument._take` returned.
Taken: TypeAlias = tuple[str, str, str, str, Labels, Any]


def counter(name: str, *, help: str = "", unit: str = "") -> Counter:
    """Return the counter of this name: a number that only grows.

    ``bm.counter("rows").add(n)``, in a service's method or in the driver. `Session.variables`
    shows it, of each machine and in total. Calls with the same name return the same counter.
    For labels, see `Counter.labels`. ``help`` says what is counted; ``unit`` is a word such as
    ``"bytes"``. Raises `UsageError` if Prometheus would not take the name, or if it is that of a
    gauge or of a histogram.
    """
    return REGISTRY.instrument(Counter, name, help=help, unit=unit)


def gauge(name: str, *, help: str = "", unit: str = "") -> Gauge:
    """Return the gauge of this name: a number that goes up and down; see `counter`.

    ``bm.gauge("queue").set(12)``, or ``.add(-1)``. Over several machines, `Session.variables`
    shows the sum, the least and the greatest.
    """
    return REGISTRY.instrument(Gauge, name, help=help, unit=unit)


def histogram(name: str, *, help: str = "", unit: str = "") -> Histogram:
    """Return the histogram of this name: how values are distributed; see `counter`.

    ``bm.histogram("query", unit="seconds").observe(0.2)``. It has four buckets for each
    doubling, whatever the values are, so that quantiles are known to within 19 %.
    """
    return REGISTRY.instrument(Histogram, name, help=help, unit=unit)


class Registry:
    """The instruments of one process."""

    def __init__(self) -> None:
        self.after_fork()
        self._families: dict[str, Family] = {}
        self._samples: dict[str, str] = {}  # names in the text for Prometheus, to whose they are
        self._told_of_names = False

    def instrument(self, kind: type[I], name: str, *, help: str = "", unit: str = "") -> I:
        """Return the instrument of this name, without labels; make it if it is new."""
        family = self._families.get(name)
        if family is None:
            family = self._add(kind, name, help, unit)
        elif family.kind is not kind:
            raise UsageError(
                f"{name!r} is a {family.kind.kind} already, so it can't be a {kind.kind}: "
                "give one of them another name"
            )
        elif help or unit:
            self._describe(family, help, unit)
        return cast(I, family.unlabelled)

    def restored(self, kind: str, name: str, *, help: str, unit: str, labels: Labels) -> Instrument:
        """Return the instrument that is called so in another process."""
        found = self.instrument(_KINDS[kind], name, help=help, unit=unit)
        return found._family.with_labels(labels)

    def families(self) -> list[Family]:
        """Return all of them, in the order of their making."""
        with self._lock:
            return [*self._families.values()]

    def take(self) -> list[Taken]:
        """Return what was measured since the last time, and begin anew; see `absorb`."""
        return [
            (family.kind.kind, family.name, family.help, family.unit, labels, taken)
            for family in self.families()
            for labels, instrument in family.items()
            if (taken := instrument._take()) is not None
        ]

    def absorb(self, all_taken: Iterable[Taken]) -> None:
        """Add what another process took from its own, as if it was measured here."""
        for kind, name, help, unit, labels, taken in all_taken:
            try:
                self.restored(kind, name, help=help, unit=unit, labels=labels)._absorb(taken)
            except UsageError as exc:  # another kind than here, for instance
                logger.warning("the values of a process are lost: %s", exc)

    def after_fork(self) -> None:
        """Begin anew as another process, with free locks."""
        self._lock = threading.RLock()
        self.process = f"{os.getpid()}-{secrets.token_hex(8)}"
        """Names this process in the whole world."""
        for family in getattr(self, "_families", {}).values():
            family.reset_locks()

    def _add(self, kind: type[Instrument], name: str, help: str, unit: str) -> Family:
        check_name(name, kind.kind)
        check_unit(unit, name)
        with self._lock:
            if name in self._families:
                return self.instrument(kind, name, help=help, unit=unit)._family
            family = Family(kind, name, help=_help(help), unit=unit, restore=_restore)
            if len(self._families) >= MAX_NAMES:
                self._tell_of_names(name)
                return family
            self._claim(family)
            self._families[name] = family
        return family

    def _describe(self, family: Family, help: str, unit: str) -> None:
        """Complete what is known of a family."""
        if unit and unit != family.unit:
            check_unit(unit, family.name)
            if family.unit:
                raise UsageError(
                    f"{family.name!r} is in {family.unit} already, so it can't be in {unit}: "
                    "give one of them another name"
                )
            with self._lock:
                family.unit = unit
                try:
                    self._claim(family)
                except UsageError:
                    family.unit = ""
                    raise
        if help and not family.help:
            family.help = _help(help)

    def _claim(self, family: Family) -> None:
        """Take the names that it has in the text for Prometheus, which are nobody else's."""
        names = sample_names(family.name, family.unit, family.kind.kind)
        for sample in names:
            if self._samples.get(sample, family.name) != family.name:
                raise UsageError(
                    f"{family.name!r} and {self._samples[sample]!r} would both be called "
                    f"{sample!r} in the text for Prometheus: give one of them another name"
                )
        self._samples.update(dict.fromkeys(names, family.name))

    def _tell_of_names(self, name: str) -> None:
        if not self._told_of_names:
            self._told_of_names = True
            logger.warning(
                "there are %d metrics already: %r and further ones are not shown. Use labels, "
                "rather than names that are made from data",
                MAX_NAMES,
                name,
            )


_KINDS: dict[str, type[Instrument]] = {kind.kind: kind for kind in (Counter, Gauge, Histogram)}


def _help(text: object) -> str:
    if not isinstance(text, str):
        raise UsageError(f"help is a text that says what is measured, not {text!r}")
    return text


def _restore(kind: str, name: str, help: str, unit: str, labels: Labels) -> Instrument:
    return REGISTRY.restored(kind, name, help=help, unit=unit, labels=labels)


REGISTRY = Registry()
"""That of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=REGISTRY.after_fork)
