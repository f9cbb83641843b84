"""An instance of a session, as EC2 describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bigmachine.cloud import machine_port
from bigmachine.errors import StopReason
from bigmachine.system import Instance, Termination

from ..api._advice import KEY_ADVICE
from ..api._errors import AwsError
from ..catalog._prices import LINUX, PriceKey
from ..options import _tags

_INTERRUPTED = (StopReason.INTERRUPTED, "EC2 interrupted the spot instance")
_NOT_LAUNCHED = (StopReason.GONE, "EC2 could not launch it")
_REASONS = {  # all of the API reference's StateReason; for others EC2's own message is shown
    "Client.InstanceInitiatedShutdown": (StopReason.EXITED, "it powered itself off"),
    "Client.InstanceTerminated": (
        StopReason.GONE,
        "an image of it was being made",
    ),
    "Client.InternalError": _NOT_LAUNCHED,
    "Client.InvalidKMSKey.InvalidState": _NOT_LAUNCHED,
    "Client.InvalidSnapshot.NotFound": _NOT_LAUNCHED,
    "Client.UserInitiatedHibernate": (StopReason.GONE, "somebody hibernated it"),
    "Client.UserInitiatedShutdown": (StopReason.GONE, "somebody terminated it"),
    "Client.VolumeLimitExceeded": (
        StopReason.GONE,
        "EC2 could not launch it, because the account's quota of EBS volumes is used up",
    ),
    "Server.InsufficientInstanceCapacity": (StopReason.GONE, "EC2 had no capacity to launch it"),
    "Server.InternalError": (StopReason.GONE, "EC2 had an internal error"),
    "Server.ScheduledStop": (StopReason.GONE, "EC2 retired its host"),
    "Server.SpotInstanceShutdown": _INTERRUPTED,
    "Server.SpotInstanceTermination": _INTERRUPTED,
}


@dataclass(frozen=True, slots=True)
class Vm:
    """An instance as EC2 describes it.

    ``name`` is its machine's full name, once it is tagged. An address is empty while EC2 has
    not assigned one.
    """

    id: str
    name: str
    state: str
    reason: str
    reason_message: str
    zone: str
    instance_type: str
    market: str
    public_name: str
    public_address: str
    private_address: str
    session: str
    tags: Mapping[str, str] = field(repr=False)
    usage: str = LINUX
    is_dedicated: bool = False

    @classmethod
    def from_response(cls, raw: Mapping[str, Any]) -> Vm:
        """Parse one of a response to DescribeInstances or RunInstances."""
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
            instance_type=raw.get("InstanceType", ""),
            market=raw.get("InstanceLifecycle", "on-demand"),
            public_name=raw.get("PublicDnsName", ""),
            public_address=raw.get("PublicIpAddress", ""),
            private_address=raw.get("PrivateIpAddress", ""),
            session=session,
            tags=tags,
            usage=raw.get("UsageOperation") or LINUX,
            is_dedicated=raw.get("Placement", {}).get("Tenancy", "default") != "default",
        )

    @property
    def price_key(self) -> PriceKey:
        """What its price depends on."""
        return PriceKey(
            self.market,
            self.instance_type,
            self.zone,
            usage=self.usage,
            is_dedicated=self.is_dedicated,
        )

    @property
    def is_ours(self) -> bool:
        """Whether a session launched it."""
        return bool(self.session)

    @property
    def has_ended(self) -> bool:
        """Whether it no longer runs, and won't run again."""
        return self.state not in ("pending", "running")

    @property
    def is_terminated(self) -> bool:
        """Whether it is terminated: EC2 merely still lists it."""
        return self.state == "terminated"

    @property
    def error(self) -> AwsError:
        """Why it has ended, as if its launch had been refused."""
        return AwsError("ec2:RunInstances", self.reason, self.reason_message)

    def termination(self) -> Termination:
        """Return why it no longer runs."""
        reason, detail = _REASONS.get(self.reason, (StopReason.GONE, ""))
        detail = detail or f"its instance is {self.state}"
        if self.reason:
            detail += f" (EC2 says {self.reason}: {self.reason_message})"
            if self.error.is_of_key:
                detail += f"; {KEY_ADVICE}"
        return Termination(reason, detail)

    def instance(self, *, is_public: bool, port: int = 0) -> Instance:
        """Return it as a system's `Instance`. The default ``port`` is the one of its tags."""
        # The DNS name resolves to the private address within the VPC. So machines reach one
        # another through a security group that allows only its own members.
        public = self.public_name or self.public_address
        host = public if is_public else self.private_address
        port = port or machine_port(self.tags.get(_tags.PORT, ""))
        return Instance(
            name=self.name,
            address=f"{host}:{port}" if host else "",
            id=self.id,
            zone=self.zone,
            details=_tags.details(
                self.tags,
                kind="instance",
                state=self.state,
                instance_type=self.instance_type,
                market=self.market,
                **({"immortal": self.tags[_tags.IMMORTAL]} if _tags.IMMORTAL in self.tags else {}),
            ),
        )
