"""What sessions have in a region besides instances: listed by its tags, and freed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from bigmachine.system import Instance

from . import _tags
from ._api import Api
from ._batch import for_each
from ._errors import AwsError
from ._pace import polls


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing, by the actions of the EC2 API reference.

    ``ids`` begin with it, ``describe`` answers with a list under ``key``, and ``delete`` takes
    what ``named`` makes of an id. In the states ``gone`` nothing is left of it but EC2's memory.
    """

    name: str
    ids: str
    describe: str
    key: str
    id: str
    delete: str
    gone: frozenset[str] = frozenset()
    most: int = 200  # at once: what DescribeLaunchTemplates takes, and the others take more
    named: Callable[[str, str], dict[str, Any]] = lambda key, id: {key: id}


REQUEST = Kind(
    name="spot-request",
    ids="sir-",
    describe="ec2:DescribeSpotInstanceRequests",
    key="SpotInstanceRequests",
    id="SpotInstanceRequestId",
    delete="ec2:CancelSpotInstanceRequests",
    # One that is active has bought its instance, and being one-time will buy no other.
    gone=frozenset({"active", "closed", "cancelled", "failed"}),
    named=lambda key, id: {f"{key}s": [id]},
)
"""A request for a spot instance that may yet buy it: it "remains active until all instances
launch or you cancel the request" (API reference of SpotMarketOptions)."""

VOLUME = Kind(
    name="volume",
    ids="vol-",
    describe="ec2:DescribeVolumes",
    key="Volumes",
    id="VolumeId",
    delete="ec2:DeleteVolume",
    gone=frozenset({"deleting", "deleted"}),
)
GROUP = Kind(
    name="security-group",
    ids="sg-",
    describe="ec2:DescribeSecurityGroups",
    key="SecurityGroups",
    id="GroupId",
    delete="ec2:DeleteSecurityGroup",
)
TEMPLATE = Kind(
    name="launch-template",
    ids="lt-",
    describe="ec2:DescribeLaunchTemplates",
    key="LaunchTemplates",
    id="LaunchTemplateId",
    delete="ec2:DeleteLaunchTemplate",
)

BEFORE = (REQUEST,)
"""What is freed before the instances, lest it buys another."""
AFTER = (VOLUME, GROUP, TEMPLATE)
"""What is freed after them, for they use it."""

_IN_USE = ("DependencyViolation", "IncorrectState", "InvalidGroup.InUse", "VolumeInUse")


class Leftovers:
    """All that is tagged as a session's, but its instances. All methods raise `AwsError`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def find(self, kinds: Iterable[Kind], *, session: str = "*") -> list[Instance]:
        """List what there is of these kinds, in their order, of a session or of all."""
        return [thing for kind in kinds for thing in await self._find(kind, session)]

    async def free(self, ids: Iterable[str]) -> None:
        """Delete things by their ids; return when each is gone. Fine if it is gone.

        EC2 lets go of a thing some time after the last instance that uses it is terminated:
        until then this waits, for as long as it is not cancelled.
        """
        await for_each(ids, self._free)

    async def free_ours(self, id: str) -> None:
        """Delete a thing by its id, if it is tagged as a session's."""
        if id in {thing.id for thing in await self._find(_kind_of(id), "*")}:
            await self._free(id)

    async def _find(self, kind: Kind, session: str) -> list[Instance]:
        raws = await self._api.read_all(
            kind.describe,
            kind.key,
            MaxResults=kind.most,
            Filters=_tags.filters({_tags.SESSION: [session]}),
        )
        return [_thing(kind, raw) for raw in raws if raw.get("State") not in kind.gone]

    async def _free(self, id: str) -> None:
        kind = _kind_of(id)
        for pause in polls():
            try:
                await self._api.write(kind.delete, **kind.named(kind.id, id))
                return
            except AwsError as error:
                if error.is_missing:
                    return
                if error.code not in _IN_USE:
                    raise
            await trio.sleep(pause)


def is_leftover(id: str) -> bool:
    """Whether something of that id is of a kind that is listed here."""
    return id.startswith(tuple(kind.ids for kind in (*BEFORE, *AFTER)))


def _kind_of(id: str) -> Kind:
    return next(kind for kind in (*BEFORE, *AFTER) if id.startswith(kind.ids))


def _thing(kind: Kind, raw: Mapping[str, Any]) -> Instance:
    details = _tags.details(_tags.tags_of(raw), kind=kind.name, state=raw.get("State", ""))
    return Instance(
        name=f"{kind.name}.{details['session']}",
        address="",
        id=raw[kind.id],
        zone=raw.get("AvailabilityZone", ""),
        details=details,
    )
