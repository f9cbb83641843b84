"""The metadata server of Google Compute Engine."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from tests.support.cloudbox._cloud import Cloud, Request, Response, find, listing

if TYPE_CHECKING:
    from tests.support.cloudbox._host import Host

ROOT = "/computeMetadata/v1"
API_ROOT = "/compute/v1/"
MAX_WAIT = 60.0  # seconds to wait for a change, if the request has no timeout
POLL_INTERVAL = 0.05  # seconds
METADATA = "169.254.169.254"
NO_NOTIFICATIONS = "no notifications have been received yet, try again later"

HOSTS = f"""\
127.0.0.1 localhost
{METADATA} metadata.google.internal metadata
"""
# The image contains Google's guest agent, disabled; this enables it.
AGENT = b"""\
[Unit]
Wants=google-guest-agent.service google-startup-scripts.service google-shutdown-scripts.service
"""
CLOUD_INIT = b"datasource_list: [GCE]\n"
# A container has no DMI, by which cloud-init recognizes GCE.
DMI_PATH = "usr/lib/python3/dist-packages/cloudinit/dmi.py"
DMI = b"""\
def read_dmi_data(key):
    return {"system-product-name": "Google Compute Engine"}.get(key)
"""
# As on Google's images, the output of the startup script goes to the console.
CONSOLE = b"""\
[Service]
StandardOutput=journal+console
"""


@dataclass
class Gce(Cloud):
    """An instance: the arguments of ``instances.insert``, and its current state.

    Its image runs Google's guest agent, which runs the attribute ``startup-script``: Google's
    Debian images do. With ``has_cloud_init``, it also has cloud-init, which runs ``user-data``, as
    Ubuntu's do. ``api`` answers requests to the Compute Engine API, at the same address.
    """

    startup_script: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    name: str = "vm-1"
    project: str = "project-1"
    zone: str = "us-central1-a"
    machine_type: str = "e2-small"
    instance_id: int = field(default_factory=lambda: secrets.randbits(62))
    is_spot: bool = False
    preempted: bool = False
    maintenance_event: str = "NONE"
    upcoming_maintenance: dict[str, str] | str | None = None
    external_ip: str = ""
    token: dict[str, Any] | None = None  # {"access_token": …, "expires_in": …, "token_type": …}
    scopes: tuple[str, ...] = ("https://www.googleapis.com/auth/cloud-platform",)
    guest_attributes: dict[str, str] = field(default_factory=dict)  # set by the instance
    has_cloud_init: bool = False
    api: Callable[[Request], Awaitable[Response]] | None = None

    def files(self, host: Host, /) -> dict[str, bytes]:
        cloud_init = {"etc/cloud/cloud-init.disabled": b""}
        if self.has_cloud_init:
            cloud_init = {"etc/cloud/cloud.cfg.d/95_cloud.cfg": CLOUD_INIT, DMI_PATH: DMI}
        return {
            **cloud_init,
            "etc/hostname": self.name.encode(),
            "etc/hosts": HOSTS.encode(),  # Google's resolver knows these names
            "etc/systemd/system/google-startup-scripts.service.d/console.conf": CONSOLE,
            "etc/systemd/system/multi-user.target.d/agent.conf": AGENT,
        }

    async def answer(self, request: Request, host: Host, /) -> Response:
        if not request.path.startswith(ROOT):
            if self.api is not None and request.path.startswith(API_ROOT):
                return await self.api(request)
            return Response(404)
        if request.headers.get("metadata-flavor") != "Google":
            return Response(403, "Missing Metadata-Flavor:Google header.")
        if "x-forwarded-for" in request.headers:
            return Response(403)  # the request came through a proxy
        path = request.path.removeprefix(ROOT)
        _, _, attribute = path.partition("/instance/guest-attributes/")
        if request.method == "PUT" and attribute:
            self.guest_attributes[attribute] = request.body.decode()
            return Response()
        if path == "/instance/upcoming-maintenance" and self.upcoming_maintenance is None:
            return Response.of_json({"error": NO_NOTIFICATIONS}, status=503)
        try:
            if request.query.get("wait_for_change", "").lower() == "true":
                await self._wait_for_change(path, request, host)
            return self._value(path, request, host)
        except LookupError:
            return Response(404)

    async def _wait_for_change(self, path: str, request: Request, host: Host) -> None:
        """Wait until the value at the path changes, or until the timeout of the request."""
        known = request.query.get("last_etag") or etag(self._find(path, host))
        with trio.move_on_after(float(request.query.get("timeout_sec", MAX_WAIT))):
            while etag(self._find(path, host)) == known:
                await self._may_have_changed()

    async def _may_have_changed(self) -> None:
        """Wait until some attribute may have changed."""
        await trio.sleep(POLL_INTERVAL)

    def _value(self, path: str, request: Request, host: Host) -> Response:
        found = self._find(path, host)
        headers = {"Metadata-Flavor": "Google", "ETag": etag(found)}
        is_leaf = not isinstance(found, dict | list)
        is_whole = request.query.get("recursive", "").lower() == "true"
        if is_whole or request.query.get("alt") == "json":
            last = path.rstrip("/").rpartition("/")[2]
            kind, body = "application/json", json.dumps(camel(found, name=last))
        elif path.endswith("/token"):
            kind, body = "application/json", json.dumps(found)
        else:
            kind, body = "application/text", str(found) if is_leaf else listing(found)
        return Response(200, body, {**headers, "Content-Type": kind})

    def _find(self, path: str, host: Host) -> Any:
        # A credential is returned only for its own path, never as part of a tree.
        if path == "/instance/service-accounts/default/token" and self.token:
            return self.token
        return find(self._tree(host), path)

    def _tree(self, host: Host) -> dict[str, Any]:
        attributes = dict(self.attributes)
        if self.startup_script is not None:
            attributes["startup-script"] = self.startup_script
        card: dict[str, Any] = {"ip": host.address, "mac": host.mac}
        if self.external_ip:
            card["access-configs"] = [
                {"external-ip": self.external_ip, "type": "ONE_TO_ONE_NAT"},
            ]
        account = {
            "aliases": ["default"],
            "email": f"default@{self.project}.iam.gserviceaccount.com",
            "scopes": list(self.scopes),
        }
        zone = f"projects/1/zones/{self.zone}"
        return {
            "instance": {
                "attributes": attributes,
                "hostname": f"{self.name}.{self.zone}.c.{self.project}.internal",
                "id": self.instance_id,
                "machine-type": f"projects/1/machineTypes/{self.machine_type}",
                "maintenance-event": self.maintenance_event,
                "name": self.name,
                "network-interfaces": [card],
                "preempted": str(self.preempted).upper(),
                "scheduling": {
                    "automatic-restart": str(not self.is_spot).upper(),
                    "on-host-maintenance": "TERMINATE" if self.is_spot else "MIGRATE",
                    "preemptible": str(self.is_spot).upper(),
                },
                "service-accounts": {"default": account} if self.token else {},
                "upcoming-maintenance": self.upcoming_maintenance or {},
                "zone": zone,
            },
            "project": {"attributes": {}, "numeric-project-id": 1, "project-id": self.project},
        }


def camel(tree: Any, *, name: str = "") -> Any:
    """Convert names with dashes to camel case, as JSON output has them, except in attributes."""
    if isinstance(tree, list):
        return [camel(item) for item in tree]
    if not isinstance(tree, dict) or name == "attributes":
        return tree
    return {spell(key): camel(value, name=key) for key, value in tree.items()}


def spell(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(word.capitalize() for word in rest)


def etag(value: Any) -> str:
    """Return a hash that identifies a value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
