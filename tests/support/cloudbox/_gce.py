"""What an instance of Google Compute Engine hears from its metadata server."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from tests.support.cloudbox._cloud import Cloud, Request, Response, find, listing

if TYPE_CHECKING:
    from tests.support.cloudbox._host import Host

ROOT = "/computeMetadata/v1"
LONGEST = 60.0  # seconds that a change is waited for, if the asker doesn't say
PROMPT = 0.05  # seconds between two looks for a change
METADATA = "169.254.169.254"

HOSTS = f"""\
127.0.0.1 localhost
{METADATA} metadata.google.internal metadata
"""
# Google's own agent, in Debian's package of it, is in the image, and off.
AGENT = b"""\
[Unit]
Wants=google-guest-agent.service google-startup-scripts.service google-shutdown-scripts.service
"""
# What Google's images have rsyslog do: what the script prints is on the console.
CONSOLE = b"""\
[Service]
StandardOutput=journal+console
"""


@dataclass
class Gce(Cloud):
    """An instance: what ``instances.insert`` was told of it, and what befell it since.

    Its image runs Google's guest agent, as Google's Debian images do, and not cloud-init: the
    agent runs the attribute ``startup-script``.
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
    token: dict[str, Any] | None = None  # {"access_token": …, "expires_in": …, "token_type": …}
    scopes: tuple[str, ...] = ("https://www.googleapis.com/auth/cloud-platform",)
    guest_attributes: dict[str, str] = field(default_factory=dict)  # that it has put there

    def files(self, host: Host, /) -> dict[str, bytes]:
        return {
            "etc/cloud/cloud-init.disabled": b"",
            "etc/hostname": self.name.encode(),
            "etc/hosts": HOSTS.encode(),  # Google's resolver knows these names
            "etc/systemd/system/google-startup-scripts.service.d/console.conf": CONSOLE,
            "etc/systemd/system/multi-user.target.d/agent.conf": AGENT,
        }

    async def answer(self, request: Request, host: Host, /) -> Response:
        if not request.path.startswith(ROOT):
            return Response(404)
        if request.headers.get("metadata-flavor") != "Google":
            return Response(403, "Missing Metadata-Flavor:Google header.")
        if "x-forwarded-for" in request.headers:
            return Response(403)  # it came through a proxy, which may be anybody's
        path = request.path.removeprefix(ROOT)
        _, _, attribute = path.partition("/instance/guest-attributes/")
        if request.method == "PUT" and attribute:
            self.guest_attributes[attribute] = request.body.decode()
            return Response()
        try:
            if request.query.get("wait_for_change", "").lower() == "true":
                await self._change(path, request, host)
            return self._at(path, request, host)
        except LookupError:
            return Response(404)

    async def _change(self, path: str, request: Request, host: Host) -> None:
        """Return when what is at the path is another than the asker knows, or it's time."""
        known = request.query.get("last_etag") or etag(self._find(path, host))
        with trio.move_on_after(float(request.query.get("timeout_sec", LONGEST))):
            while etag(self._find(path, host)) == known:
                await trio.sleep(PROMPT)

    def _at(self, path: str, request: Request, host: Host) -> Response:
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
        # A credential is handed out by its own path only, never with the rest.
        if path == "/instance/service-accounts/default/token" and self.token:
            return self.token
        return find(self._tree(host), path)

    def _tree(self, host: Host) -> dict[str, Any]:
        attributes = dict(self.attributes)
        if self.startup_script is not None:
            attributes["startup-script"] = self.startup_script
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
                "network-interfaces": [{"ip": host.address, "mac": host.mac}],
                "preempted": str(self.preempted).upper(),
                "scheduling": {
                    "automatic-restart": str(not self.is_spot).upper(),
                    "on-host-maintenance": "TERMINATE" if self.is_spot else "MIGRATE",
                    "preemptible": str(self.is_spot).upper(),
                },
                "service-accounts": {"default": account} if self.token else {},
                "zone": zone,
            },
            "project": {"attributes": {}, "numeric-project-id": 1, "project-id": self.project},
        }


def camel(tree: Any, *, name: str = "") -> Any:
    """Spell names as JSON has them, where paths have dashes; but not those of attributes."""
    if isinstance(tree, list):
        return [camel(item) for item in tree]
    if not isinstance(tree, dict) or name == "attributes":
        return tree
    return {spell(key): camel(value, name=key) for key, value in tree.items()}


def spell(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(word.capitalize() for word in rest)


def etag(value: Any) -> str:
    """Name a value, so that another has another name."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
