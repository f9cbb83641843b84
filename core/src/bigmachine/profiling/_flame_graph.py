"""A profile as a flame graph: one HTML page, which loads nothing from elsewhere.

The page is ``flame_graph.html``, which has the program that draws; the profile is put into it.
"""

from __future__ import annotations

import html
import json
from importlib import resources

from ..errors import sanitize_line
from ._samples import Frame, Samples
from ._top import top_text

_MAX_NAMES = 5  # of machines, in the title


def flame_graph_page(profile: Samples, *, title: str) -> str:
    """Return the page."""
    title = title or _title(profile)
    template = resources.files(__package__).joinpath("flame_graph.html").read_text("utf-8")
    text = top_text(profile, limit=20, by="function", value="")
    # In one pass, since a name in the profile may look like a placeholder.
    before_title, rest = template.split("{{title}}", 1)
    before_text, rest = rest.split("{{text}}", 1)
    before_data, after = rest.split("{{data}}", 1)
    return "".join(
        (
            before_title,
            html.escape(sanitize_line(title)),
            before_text,
            html.escape(text),
            before_data,
            _script_json(_data(profile, title)),
            after,
        )
    )


def _title(profile: Samples) -> str:
    names = profile.machines
    title = f"Profile: {profile.value_types[-1].type}"
    if len(names) > _MAX_NAMES:
        return f"{title} of {len(names)} machines"
    return f"{title} of {', '.join(names)}" if names else title


def _data(profile: Samples, title: str) -> dict[str, object]:
    """Return what the page's program needs: functions are numbers, stacks have the root first."""
    machines = {name: at for at, name in enumerate(profile.machines)}
    functions: dict[tuple[str, str, int], int] = {}
    stacks: dict[tuple[int, ...], list[int]] = {}  # by machine and functions

    def number(frame: Frame) -> int:
        key = (sanitize_line(frame.function), sanitize_line(frame.file), frame.first_line)
        return functions.setdefault(key, len(functions))

    for sample in profile.samples:
        machine = machines.get(dict(sample.labels).get("machine", ""), -1)
        key = (machine, *(number(frame) for frame in reversed(sample.stack)))
        values = stacks.setdefault(key, [0] * len(sample.values))
        values[:] = map(sum, zip(values, sample.values, strict=True))
    return {
        "title": sanitize_line(title),
        "types": [[kind.type, kind.unit] for kind in profile.value_types],
        "machines": [*machines],
        "functions": [*functions],
        "stacks": [[key[0], key[1:], values] for key, values in stacks.items()],
        "seconds": profile.seconds if profile.period else 0,
        "notes": [
            *(sanitize_line(f"not in it: {m}: {why}") for m, why in profile.failures.items()),
            *map(sanitize_line, profile.notes),
        ],
    }


def _script_json(data: object) -> str:
    """Return JSON that can end neither a script element nor a line of JavaScript."""
    text = json.dumps(data, separators=(",", ":"))  # only ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
