"""What sessions have in a region other than instances: found by its tags, and deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from bigmachine.cloud import CloudError, for_each, note_errors, poll_intervals
from bigmachine.system import Instance

from ..api._api import Api
from ..api._errors import AwsError
from ..options import _tags

logger = logging.getLogger("bigmachine.ec2")


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """A kind of resource, and the actions of the EC2 API reference for it.

    ``describe`` returns a list under ``list_key``, each item with its id, which starts with
    ``id_prefix``, under ``id_key``; ``delete`` takes the parameters that ``delete_parameters``
    makes of these two. In the ``deleted_states`` EC2 merely still lists it.
    """

    name: str
    id_prefix: str
    describe: str
    list_key: str
    id_key: str
    delete: str
    deleted_states: frozenset[str] = frozenset()
    delete_parameters: Callable[[str, str], dict[str, Any]] = lambda key, id: {key: id}


REQUEST = ResourceKind(
    name="spot-request",
    id_prefix="sir-",
    describe="ec2:DescribeSpotInstanceRequests",
    list_key="SpotInstanceRequests",
    id_key="SpotInstanceRequestId",
    delete="ec2:CancelSpotInstanceRequests",
    # One that is active has launched its instance; being one-time, it launches no other.
    deleted_states=frozenset({"active", "closed", "cancelled", "failed"}),
    delete_parameters=lambda key, id: {f"{key}s": [id]},
)
"""A request for a spot instance that may yet launch it: it "remains active until all instances
launch or you cancel the request" (API reference of SpotMarketOptions)."""

VOLUME = ResourceKind(
    name="volume",
    id_prefix="vol-",
    describe="ec2:DescribeVolumes",
    list_key="Volumes",
    id_key="VolumeId",
    delete="ec2:DeleteVolume",
    deleted_states=frozenset({"deleting", "deleted"}),
)
GROUP = ResourceKind(
    name="security-group",
    id_prefix="sg-",
    describe="ec2:DescribeSecurityGroups",
    list_key="SecurityGroups",
    id_key="GroupId",
    delete="ec2:DeleteSecurityGroup",
)
TEMPLATE = ResourceKind(
    name="launch-template",
    id_prefix="lt-",
    describe="ec2:DescribeLaunchTemplates",
    list_key="LaunchTemplates",
    id_key="LaunchTemplateId",
    delete="ec2:DeleteLaunchTemplate",
)

FREED_BEFORE_INSTANCES = (REQUEST,)
"""What is deleted before the instances, because it may launch another."""
FREED_AFTER_INSTANCES = (VOLUME, GROUP, TEMPLATE)
"""What is deleted after the instances, because they use it."""

_KINDS = (*FREED_BEFORE_INSTANCES, *FREED_AFTER_INSTANCES)
IN_USE = ("DependencyViolation", "IncorrectState", "InvalidGroup.InUse", "VolumeInUse")
"""The codes of errors if a resource can't be deleted yet."""
_IN_USE_SECONDS = 45.0  # EC2 releases what terminated instances used within seconds
_LOOKS = 4  # a new resource may not be listed for some seconds: "Eventual consistency"


class Leftovers:
    """The resources tagged with a session, without instances. All methods raise `AwsError`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def find_each(
        self, kinds: Iterable[ResourceKind], errors: list[CloudError]
    ) -> list[Instance]:
        """List all sessions' resources of these kinds, in their order.

        A kind that can't be listed keeps no other from being listed: its error is noted.
        """
        found: list[Instance] = []
        for kind in kinds:
            with note_errors(errors):
                found += await self.find(kind)
        return found

    async def free(self, ids: Iterable[str]) -> None:
        """Delete resources by id; return when all are deleted. One that does not exist is fine.

        EC2 refuses until some time after the last instance that uses the resource is
        terminated. This waits for it until it is cancelled.
        """
        await for_each(ids, self._free)

    async def free_ours(self, id: str) -> None:
        """Delete a resource by id, if it is tagged with a session."""
        for delay in poll_intervals():
            if await self._is_ours(id):
                await self._free(id)
                return
            if not self._api.is_new(id):
                return
            await trio.sleep(delay)

    async def find(self, kind: ResourceKind, *, session: str = "*") -> list[Instance]:
        """List the resources of this kind, of one session or of all."""
        raws = await self._api.read_all(
            kind.describe,
            kind.list_key,
            Filters=_tags.filters({_tags.SESSION: [session]}),
        )
        found = [
            _instance(kind, raw) for raw in raws if raw.get("State") not in kind.deleted_states
        ]
        if kind is not VOLUME:  # volumes are deleted with their instances, so they may be gone
            self._api.note_new(*(resource.id for resource in found))
        return found

    async def _is_ours(self, id: str) -> bool:
        return id in {found.id for found in await self.find(_kind_of(id))}

    async def _free(self, id: str) -> None:
        kind, unlisted, begin = _kind_of(id), 0, trio.current_time()
        is_told = False
        for delay in poll_intervals():
            try:
                await self._api.write(kind.delete, **kind.delete_parameters(kind.id_key, id))
                self._api.forget(id)
                return
            except AwsError as error:
                if error.is_not_found:
                    if not await self._is_ours(id):
                        self._api.forget(id)
                        return
                elif error.is_denied and not await self._is_ours(id):
                    # As for instances, see `Vms`: EC2 denies it for one that is gone.
                    unlisted += 1
                    if unlisted == _LOOKS:
                        self._api.forget(id)
                        return
                elif error.code not in IN_USE:
                    raise
                elif not is_told and trio.current_time() >= begin + _IN_USE_SECONDS:
                    is_told = True
                    logger.warning("%s %s can't be deleted: %s", kind.name, id, _why_used(error))
            await trio.sleep(delay)


def _why_used(error: AwsError) -> str:
    return (
        f"something else may use it, such as a rule of another security group, or a network "
        f"interface that you made: remove that (AWS answers {error.code}: {error.message})"
    )


def is_leftover(id: str) -> bool:
    """Whether this is the id of a resource of a kind that is listed here."""
    return id.startswith(tuple(kind.id_prefix for kind in _KINDS))


def _kind_of(id: str) -> ResourceKind:
    return next(kind for kind in _KINDS if id.startswith(kind.id_prefix))


def _instance(kind: ResourceKind, raw: Mapping[str, Any]) -> Instance:
    details = _tags.details(_tags.tags_of(raw), kind=kind.name, state=raw.get("State", ""))
    return Instance(
        name=f"{kind.name}.{details['session']}",
        address="",
        id=raw[kind.id_key],
        zone=raw.get("AvailabilityZone", ""),
        details=details,
    )
