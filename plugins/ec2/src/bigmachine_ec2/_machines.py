"""Our instances as EC2 has them: asked for, found by their tags, and freed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from bigmachine.boot import PORT
from bigmachine.errors import StopReason
from bigmachine.system import Instance, Termination

from . import _tags
from ._api import Api
from ._batch import Batch, for_each
from ._errors import AwsError
from ._options import TAG_PREFIX
from ._pace import pauses, polls
from ._prices import Good

_AT_ONCE = 200  # values that a filter takes, by the API reference of DescribeInstances
_TRIES = 8
_NEW_SECONDS = 120.0  # a new instance may be unknown for some seconds: "Eventual consistency"
_LIVING = ("pending", "running", "stopping", "stopped", "shutting-down")

_TOOK_BACK = (StopReason.INTERRUPTED, "EC2 took the spot instance back")
_REASONS = {  # all of the API reference's StateReason; others are told in EC2's own words
    "Client.InstanceInitiatedShutdown": (StopReason.EXITED, "it powered itself off"),
    "Client.InstanceTerminated": (StopReason.GONE, "it ended while an image was made of it"),
    "Client.InternalError": (StopReason.GONE, "EC2 could not launch it"),
    "Client.InvalidSnapshot.NotFound": (StopReason.GONE, "EC2 could not launch it"),
    "Client.UserInitiatedHibernate": (StopReason.GONE, "somebody hibernated it"),
    "Client.UserInitiatedShutdown": (StopReason.GONE, "somebody terminated it"),
    "Client.VolumeLimitExceeded": (StopReason.GONE, "EC2 could not launch it"),
    "Server.InsufficientInstanceCapacity": (StopReason.GONE, "EC2 had no room to launch it"),
    "Server.InternalError": (StopReason.GONE, "EC2 had an internal error"),
    "Server.ScheduledStop": (StopReason.GONE, "EC2 retired its host"),
    "Server.SpotInstanceShutdown": _TOOK_BACK,
    "Server.SpotInstanceTermination": _TOOK_BACK,
}


@dataclass(frozen=True, slots=True)
class Vm:
    """An instance as EC2 describes it; ``name`` is that of its machine, whole, once it is tagged.

    ``address`` is empty while EC2 has not given it one.
    """

    id: str
    name: str
    state: str
    reason: str
    reason_message: str
    zone: str
    kind: str
    market: str
    public_address: str
    private_address: str
    session: str
    tags: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Vm:
        """Read one of DescribeInstances, or of RunInstances."""
        tags = _tags.tags_of(raw)
        session = tags.get(_tags.SESSION, "")
        reason = raw.get("StateReason") or {}
        return cls(
            id=raw["InstanceId"],
            name=f"{_tags.label_of(raw)}.{session}",
            state=raw["State"]["Name"],
            reason=reason.get("Code", ""),
            reason_message=reason.get("Message", ""),
            zone=raw.get("Placement", {}).get("AvailabilityZone", ""),
            kind=raw.get("InstanceType", ""),
            market=raw.get("InstanceLifecycle", "on-demand"),
            # The name, for within the VPC it means the private address: thus machines reach
            # one another through a group that lets in only its own members.
            public_address=raw.get("PublicDnsName") or raw.get("PublicIpAddress", ""),
            private_address=raw.get("PrivateIpAddress", ""),
            session=session,
            tags=tags,
        )

    @property
    def good(self) -> Good:
        """What of it makes its price."""
        return Good(self.market, self.kind, self.zone)

    @property
    def is_ours(self) -> bool:
        """Whether a session made it."""
        return bool(self.session)

    @property
    def is_gone(self) -> bool:
        """Whether it runs no longer, and won't again."""
        return self.state not in ("pending", "running")

    @property
    def is_free(self) -> bool:
        """Whether nothing is left of it but EC2's memory."""
        return self.state == "terminated"

    def gone(self) -> Termination:
        """Say why it runs no longer."""
        reason, detail = _REASONS.get(self.reason, (StopReason.GONE, ""))
        said = f"EC2 says {self.reason}: {self.reason_message}" if self.reason else ""
        words = [detail or f"its instance is {self.state}", f"({said})" if said else ""]
        return Termination(reason, " ".join(filter(None, words)))

    def instance(self, *, is_public: bool) -> Instance:
        """Return what core knows of it."""
        host = self.public_address if is_public else self.private_address
        return Instance(
            name=self.name,
            address=f"{host}:{PORT}" if host else "",
            id=self.id,
            zone=self.zone,
            details=_tags.details(
                self.tags,
                kind="instance",
                state=self.state,
                instance_type=self.kind,
                market=self.market,
                **({"immortal": self.tags[_tags.IMMORTAL]} if _tags.IMMORTAL in self.tags else {}),
            ),
        )


class Machines:
    """Our instances in one region; what many tasks ask at once goes in few requests."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._describe = Batch(self._describe_all, most=_AT_ONCE)
        self._terminate = Batch(self._terminate_all, most=_AT_ONCE)
        self._made: dict[str, float] = {}  # when, by trio's clock

    def note(self, id: str) -> None:
        """Remember that an instance was made just now."""
        self._made[id] = trio.current_time()

    async def look(self, id: str) -> Vm | None:
        """Return an instance as it is now, or None where EC2 knows none. Raises `AwsError`."""
        return await self._describe(id)

    def is_new(self, id: str) -> bool:
        """Whether it was made so recently that EC2 may not know it yet."""
        return trio.current_time() < self._made.get(id, -float("inf")) + _NEW_SECONDS

    async def find(self, **filters: Sequence[str]) -> list[Vm]:
        """Return those that are not terminated, by values of tags, named as in ``session=``.

        Raises `AwsError`. Without filters, those of all sessions; ``request=`` finds what the
        requests with these tokens made.
        """
        asked = [
            {"Name": "instance-state-name", "Values": [*_LIVING]},
            {"Name": "tag-key", "Values": [_tags.SESSION]},
            *_tags.filters({TAG_PREFIX + key: values for key, values in filters.items()}),
        ]
        return await self._describe_instances(asked)

    async def find_ours(self, instance: Instance) -> str:
        """Return the id of an instance, by its id or else its name, if a session made it."""
        if instance.id:
            vm = await self.look(instance.id)
            return vm.id if vm is not None and vm.is_ours else ""
        session = instance.name.partition(".")[2]
        if not session:
            return ""
        found = await self.find(session=[session])
        return next((vm.id for vm in found if vm.name == instance.name), "")

    async def name(self, labels: Mapping[str, str]) -> None:
        """Tell other processes the labels of instances, by id. Raises `AwsError`."""

        async def tag(some: tuple[list[str], dict[str, str]]) -> None:
            ids, tags = some
            pairs = _tags.pairs(tags)
            rests = pauses(_TRIES)
            while True:
                try:
                    await self._api.write("ec2:CreateTags", Resources=ids, Tags=pairs)
                    return
                except AwsError as error:
                    pause = next(rests, None)
                    if not error.is_missing or pause is None:
                        raise
                await trio.sleep(pause)

        await for_each(_tags.machines_tags(labels), tag)

    async def free(self, ids: Iterable[str]) -> None:
        """Terminate instances; return when each is terminated. Raises `AwsError`."""
        await for_each(ids, self._free)

    async def _free(self, id: str) -> None:
        is_told = False
        for pause in polls():
            is_told = is_told or bool(await self._terminate(id))
            vm = await self.look(id)
            if vm.is_free if vm else not self.is_new(id):
                return
            await trio.sleep(pause)

    async def _describe_all(self, ids: Sequence[str]) -> dict[str, Vm]:
        # By a filter, for an id that EC2 does not know is no error there.
        found = await self._describe_instances([{"Name": "instance-id", "Values": [*ids]}])
        return {vm.id: vm for vm in found}

    async def _describe_instances(self, asked: Sequence[Mapping[str, Any]]) -> list[Vm]:
        reservations = await self._api.read_all(
            "ec2:DescribeInstances", "Reservations", Filters=[*asked]
        )
        return [Vm.of(raw) for reservation in reservations for raw in reservation["Instances"]]

    async def _terminate_all(self, ids: Sequence[str]) -> dict[str, bool]:
        """Terminate these; say of each whether EC2 knows it. One unknown fails a whole request."""
        try:
            await self._api.write("ec2:TerminateInstances", InstanceIds=[*ids])
        except AwsError as error:
            if not error.is_missing:
                raise
            if len(ids) == 1:
                return {ids[0]: False}
            known = set(await self._describe_all(ids))
            told = await self._terminate_all([*known]) if 0 < len(known) < len(ids) else {}
            return {id: told.get(id, False) for id in ids}
        return dict.fromkeys(ids, True)
