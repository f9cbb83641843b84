"""A system whose sessions' things are files in a folder, by whoever put them there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

import bigmachine as bm

KINDS = ("instance", "volume", "security-group")


@dataclass(frozen=True, slots=True)
class ShelfOptions:
    folder: str = bm.option(help="Where the things are.")


class ShelfSystem(bm.System):
    """Machines as files on a shelf, which can't start any."""

    name = "shelf"
    Options = ShelfOptions
    capabilities = frozenset({bm.Capability.INSTANCES})

    async def launch(self, spec: bm.MachineSpec) -> bm.Instance:
        raise bm.StartError("nothing is started here")

    async def instances(self) -> Sequence[bm.Instance]:
        await trio.lowlevel.checkpoint()
        if not self._folder.is_dir():
            raise bm.StartError(f"there is no shelf at {self._folder}")
        things = self._things()
        if (self._folder / "dark").exists():
            seen = [thing for thing in things if thing.zone != "upper"]
            raise bm.IncompleteListError("the upper shelf is dark", found=seen)
        return things

    async def stop(self, instance: bm.Instance) -> None:
        await trio.lowlevel.checkpoint()
        if (self._folder / f"{instance.id}.jammed").exists():
            raise bm.BigmachineError(f"{instance.id} is jammed")
        if (self._folder / f"{instance.id}.slow").exists():
            await trio.sleep_forever()
        users = [thing for thing in self._things() if _kind(thing) < _kind(instance)]
        if any(user.details["session"] == instance.details["session"] for user in users):
            raise bm.BigmachineError(f"{instance.id} is in use")
        (self._folder / f"{instance.id}.json").unlink(missing_ok=True)

    def _things(self) -> list[bm.Instance]:
        things = [bm.Instance(**json.loads(p.read_text())) for p in self._folder.glob("*.json")]
        return sorted(things, key=lambda thing: (_kind(thing), thing.id))

    @property
    def _folder(self) -> Path:
        return Path(self.options.folder)


def put(folder: str | Path, name: str, kind: str = "instance", **more: str) -> str:
    """Put a thing on the shelf; return its id. ``more`` are details, or ``zone`` and the cost."""
    id = f"{kind[:3]}-{len([*Path(folder).glob('*.json')]):04}"
    cost, zone = more.pop("cost", None), more.pop("zone", "")
    thing = {"name": name, "address": "", "id": id, "zone": zone}
    thing["cost_per_hour"] = cost and float(cost)
    details = {"kind": kind, "session": name.partition(".")[2], **more}
    Path(folder, f"{id}.json").write_text(json.dumps({**thing, "details": details}))
    return id


def _kind(thing: bm.Instance) -> int:
    return KINDS.index(thing.details["kind"])
