"""The instance metadata service of EC2, version 2 only."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.cloudbox._cloud import Cloud, Request, Response, find, listing

if TYPE_CHECKING:
    from tests.support.cloudbox._host import Host

MAX_TTL = 21600  # seconds that a token may live

CLOUD_INIT = b"""\
datasource_list: [Ec2]
datasource: {Ec2: {apply_full_imds_network_config: false, max_wait: 20, timeout: 5}}
"""


@dataclass
class Ec2(Cloud):
    """An instance: the arguments of ``RunInstances``, and its current state.

    Its image runs cloud-init, which recognizes EC2 by the uuid of the hypervisor.
    """

    user_data: bytes | None = None
    tags: dict[str, str] = field(default_factory=dict)
    instance_id: str = field(default_factory=lambda: f"i-{secrets.token_hex(9)[:17]}")
    instance_type: str = "m5.large"
    image_id: str = "ami-0c0de0c0de0c0de00"
    life_cycle: str = "on-demand"  # or "spot"
    region: str = "us-east-1"
    zone: str = "us-east-1a"
    account: str = "123456789012"
    spot_action: dict[str, str] | None = None  # {"action": "terminate", "time": "…Z"}
    credentials: dict[str, dict[str, str]] = field(default_factory=dict)  # by role

    # A container has no /sys/hypervisor, by which cloud-init recognizes EC2.
    nspawn_options = ("--bind-ro=+/etc/hypervisor:/sys/hypervisor",)

    def __post_init__(self) -> None:
        self._tokens: dict[str, float] = {}  # expiry times; valid for this host only

    def files(self, host: Host, /) -> dict[str, bytes]:
        uuid = f"ec2{secrets.token_hex(3)[1:]}-{'-'.join(map(secrets.token_hex, (2, 2, 2, 6)))}"
        return {
            "etc/cloud/cloud.cfg.d/95_cloud.cfg": CLOUD_INIT,
            "etc/hypervisor/uuid": uuid.encode(),
        }

    async def answer(self, request: Request, host: Host, /) -> Response:
        if request.path == "/latest/api/token":
            return self._token(request)
        if self._tokens.get(request.headers.get("x-aws-ec2-metadata-token", ""), 0) < time.time():
            return Response(401)  # version 1 has no token
        if request.method != "GET":
            return Response(405)
        _, _version, *path = request.path.split("/")
        try:
            found = find(self._tree(host), "/".join(path))
        except LookupError:
            return Response(404)
        return Response(body=found if isinstance(found, bytes | str) else listing(found))

    def _token(self, request: Request) -> Response:
        if request.method != "PUT":
            return Response(405)
        if "x-forwarded-for" in request.headers:
            return Response(403)  # the request came through a proxy
        ttl = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if not ttl.isdigit() or not 0 < int(ttl) <= MAX_TTL:
            return Response(400)
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.time() + int(ttl)
        return Response(body=token, headers={"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": ttl})

    def _tree(self, host: Host) -> dict[str, Any]:
        name = f"ip-{host.address.replace('.', '-')}.ec2.internal"
        card = {
            "device-number": "0",
            "interface-id": "eni-0",
            "local-ipv4s": host.address,
            "mac": host.mac,
            "subnet-id": "subnet-0",
            "vpc-id": "vpc-0",
        }
        meta: dict[str, Any] = {
            "ami-id": self.image_id,
            "ami-launch-index": "0",
            "hostname": name,
            "instance-id": self.instance_id,
            "instance-life-cycle": self.life_cycle,
            "instance-type": self.instance_type,
            "local-hostname": name,
            "local-ipv4": host.address,
            "mac": host.mac,
            "network": {"interfaces": {"macs": {host.mac: card}}},
            "placement": {"availability-zone": self.zone, "region": self.region},
            "reservation-id": "r-0",
            "security-groups": "default",
        }
        if self.tags:
            meta["tags"] = {"instance": self.tags}
        if self.spot_action:
            meta["spot"] = {"instance-action": json.dumps(self.spot_action)}
        if self.credentials:
            roles = {role: json.dumps(keys) for role, keys in self.credentials.items()}
            meta["iam"] = {"security-credentials": roles}
        identity = {
            "accountId": self.account,
            "architecture": "x86_64",
            "availabilityZone": self.zone,
            "imageId": self.image_id,
            "instanceId": self.instance_id,
            "instanceType": self.instance_type,
            "privateIp": host.address,
            "region": self.region,
            "version": "2017-09-30",
        }
        tree: dict[str, Any] = {
            "dynamic": {"instance-identity": {"document": json.dumps(identity)}},
            "meta-data": meta,
        }
        return tree if self.user_data is None else {**tree, "user-data": self.user_data}
