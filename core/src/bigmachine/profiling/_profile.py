"""A profile: where time or memory goes, on one machine or on several."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from .._values import show_in_notebook
from ..errors import UsageError
from ._flame_graph import flame_graph_page
from ._pprof import encode_profile
from ._samples import Frame, Sample, Samples
from ._top import top_text


@dataclass(frozen=True, slots=True)
class Profile(Samples):
    """Where time or memory goes, on one machine or on several.

    Made by `Session.profile`, `Machine.profile`, and the ``heap`` of both. ``print`` it for the
    table of its `top`.

    ``value_types`` says what is measured; the last one is shown unless another one is asked for.
    ``started_at`` is in seconds since 1970, and ``seconds`` how long it took. ``failures`` has the
    machines that are not part of it, by name, and why; ``notes`` is what else a reader must know.
    """

    def __str__(self) -> str:
        return self.top()

    def __repr__(self) -> str:
        kinds = "/".join(kind.type for kind in self.value_types)
        machines = ", ".join(self.machines) or "no machine"
        return f"<Profile of {kinds} on {machines}: {len(self.samples)} stacks>"

    _repr_pretty_ = show_in_notebook

    def labelled(self, **labels: str) -> Profile:
        """Return it with ``labels`` on each sample; they replace labels of the same name."""
        known = {sample.labels for sample in self.samples}
        new = {old: tuple(sorted({**dict(old), **labels}.items())) for old in known}
        samples = (
            Sample(sample.stack, sample.values, new[sample.labels]) for sample in self.samples
        )
        return replace(self, samples=tuple(samples))

    def filter(self, **labels: str) -> Profile:
        """Return only the samples that have all of ``labels``: ``filter(machine="m0")``."""
        wanted = set(labels.items())
        return replace(self, samples=tuple(s for s in self.samples if wanted <= set(s.labels)))

    @classmethod
    def merge(cls, profiles: Iterable[Profile]) -> Profile:
        """Return one profile of what several machines did, or one machine several times.

        Equal stacks with equal labels become one sample. It takes as long as the longest of them,
        since profiles of a cluster are taken at the same time. `UsageError` if there is none, or
        if they measure different things.
        """
        profiles = [*profiles]
        if not profiles:
            raise UsageError("there is no profile to merge")
        first = profiles[0]
        sums: dict[tuple[tuple[Frame, ...], tuple[tuple[str, str], ...]], tuple[int, ...]] = {}
        for profile in profiles:
            if profile.value_types != first.value_types:
                raise UsageError(f"{first!r} and {profile!r} measure different things")
            for sample in profile.samples:
                key = (sample.stack, sample.labels)
                before = sums.get(key)
                sums[key] = sample.values if before is None else _sum(before, sample.values)
        return cls(
            value_types=first.value_types,
            samples=tuple(
                Sample(stack, values, labels) for (stack, labels), values in sums.items()
            ),
            started_at=min(profile.started_at for profile in profiles),
            seconds=max(profile.seconds for profile in profiles),
            period=max(profile.period for profile in profiles),
            failures={name: why for p in profiles for name, why in p.failures.items()},
            notes=tuple(dict.fromkeys(note for profile in profiles for note in profile.notes)),
        )

    def top(self, limit: int = 20, *, by: str = "function", value: str = "") -> str:
        """Return a table of the functions that cost most, as ``go tool pprof -top`` prints it.

        ``flat`` is what a function costs itself, ``cum`` with all that it calls. With
        ``by="line"``, each line counts for itself. ``value`` chooses what is shown, such as
        ``"wall"``: the time in which threads also waited.
        """
        return top_text(self, limit=limit, by=by, value=value)

    def to_pprof(self) -> bytes:
        """Return it in pprof's format, compressed: for ``go tool pprof``, speedscope and others."""
        return encode_profile(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a file; return its path.

        If the name ends in ``.html``, it is the `flame_graph`; otherwise pprof's format, by custom
        called ``NAME.pb.gz``.
        """
        path = Path(path)
        is_page = path.suffix.lower() in (".html", ".htm")
        path.write_bytes(self.flame_graph().encode() if is_page else self.to_pprof())
        return path

    def flame_graph(self, title: str = "") -> str:
        """Return its flame graph: an HTML page that loads nothing from elsewhere.

        What is wide costs much; what a function calls is below it. The page can be searched, and
        shows all machines or one.
        """
        return flame_graph_page(self, title=title)


def _sum(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(sum, zip(first, second, strict=True)))
