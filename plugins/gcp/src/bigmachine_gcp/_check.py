"""``bigmachine check gcp``: which requests of sessions Google permits, without making any.

Google has no dry runs for instances. So lists are really read, and of all that changes something,
it is asked whether the caller has the permission (``testIamPermissions``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigmachine.cloud import for_each
from bigmachine.errors import BigmachineError
from bigmachine.system import CheckedRequest, CheckReport, Verdict

from .api._advice import explain
from .api._api import Api
from .api._errors import GcpError
from .options._options import GcpOptions, check_offline
from .plan._launch_plan import LaunchPlan
from .plan._service_account import service_account_path

ROLE = Path(__file__).with_name("role.yaml")
"""The custom role that grants all that sessions need."""
ACT_AS = "iam.serviceAccounts.actAs"

_MAX_PERMISSIONS = 100  # in one request, by the reference of projects.testIamPermissions

_LISTS = {
    "compute.disks.list": "disks.aggregated_list",
    "compute.firewalls.list": "firewalls.list",
    "compute.instances.list": "instances.aggregated_list",
    "compute.machineTypes.list": "machine_types.aggregated_list",
    "compute.subnetworks.list": "subnetworks.aggregated_list",
}
"""What is really read, by the permission for it: one item of each list."""

_WITHOUT = {
    "compute.acceleratorTypes.list": "it is for the option accelerator",
    "compute.disks.delete": "disks that somebody has detached are left",
    "compute.firewalls.update": "a driver whose address changes is not let in again",
    "compute.images.get": "it is for images that the option image names",
    "compute.images.getFromFamily": "it is for families that the option image names",
    "compute.instances.getSerialPortOutput": "errors don't show the consoles of machines",
    "compute.instances.setServiceAccount": "it is for the option service_account",
    "compute.machineTypes.get": "it is for custom machine types",
    "compute.networks.getEffectiveFirewalls": "firewall policies in the way are not noticed",
    "compute.regionOperations.list": "what an unanswered request launches is found later",
    "compute.routes.list": "networks without a route to the internet are not noticed",
    "compute.zoneOperations.list": "why instances are missing, or have ended, is unknown",
}
"""What is missing without a permission that sessions can do without."""
_OF_RULES = "compute.firewalls."
_UPDATE_POLICY = "compute.networks.updatePolicy"
_EXTERNAL = "compute.subnetworks.useExternalIp"


@dataclass
class Check:
    """Checks all that sessions with ``options`` need.

    ``setup`` is a session's own, and returns its plan; it must use ``api``, which from now on
    changes nothing.
    """

    api: Api
    options: GcpOptions
    setup: Callable[[], Awaitable[LaunchPlan]]
    _missing: set[str] = field(default_factory=set)

    async def run(self) -> CheckReport:
        """Check all.

        Raises `BigmachineError` for options that are wrong whatever Google says, and if there are
        no credentials, or no project.
        """
        check_offline(self.options)
        self.api.forbid_changes()
        await self.api.open()
        requests = [await self._setup()]
        answers: dict[str, CheckedRequest] = {}

        async def read(permission: str) -> None:
            answers[permission] = await self._read(permission)

        await for_each(_LISTS, read)
        others = [one for one in _permissions() if one not in _LISTS]
        project = f"v1/projects/{self.api.project}:testIamPermissions"
        for start in range(0, len(others), _MAX_PERMISSIONS):
            some = others[start : start + _MAX_PERMISSIONS]
            answers.update(await self._ask("cloudresourcemanager", project, some))
        if account := self.options.service_account:
            with contextlib.suppress(GcpError, BigmachineError):  # the setup shows it
                path = await service_account_path(self.api, account)
                answers.update(await self._ask("iam", f"v1/{path}:testIamPermissions", [ACT_AS]))
        requests += [answers[one] for one in sorted(answers)]
        return CheckReport(requests, self._advice())

    async def _setup(self) -> CheckedRequest:
        try:
            plan = await self.setup()
        except BigmachineError as error:
            return CheckedRequest.of_setup(Verdict.REFUSED, str(error))
        first = f"a session would try first: {plan.offers[0]}"
        return CheckedRequest.of_setup(Verdict.OK, first)

    async def _read(self, permission: str) -> CheckedRequest:
        try:
            await self.api.read(_LISTS[permission], max_results=1)
        except GcpError as error:
            if error.is_denied:
                self._missing.add(permission)
            verdict = Verdict.DENIED if error.is_denied else Verdict.REFUSED
            return CheckedRequest(permission, verdict, str(explain(error)))
        return CheckedRequest(permission, Verdict.OK)

    async def _ask(
        self, service: str, path: str, permissions: Iterable[str]
    ) -> Mapping[str, CheckedRequest]:
        """Ask which of these permissions the caller has."""
        body = {"permissions": [*permissions]}
        try:
            reply: Any = await self.api.read_json(service, path, body=body)
        except GcpError as error:
            why = f"Google can't be asked: {explain(error)}"
            return {one: CheckedRequest(one, Verdict.UNKNOWN, why) for one in body["permissions"]}
        granted = {*reply.get("permissions", ())}
        return {one: self._answer(one, is_granted=one in granted) for one in body["permissions"]}

    def _answer(self, permission: str, *, is_granted: bool) -> CheckedRequest:
        if is_granted:
            return CheckedRequest(permission, Verdict.OK)
        is_needed = self._needs(permission)
        detail = f"{self.api.account or 'the Google account in use'} lacks this permission"
        if is_needed:
            self._missing.add(permission)
        else:
            without = _WITHOUT.get(permission, "the options do without")
            detail += f". Sessions work without it: {without}"
        return CheckedRequest(permission, Verdict.DENIED, detail, is_needed=is_needed)

    def _needs(self, permission: str) -> bool:
        """Whether sessions with these options need a permission."""
        o = self.options
        if permission.startswith(_OF_RULES) or permission == _UPDATE_POLICY:
            return not o.network_tags and permission not in _WITHOUT
        own_images = "compute.images.getFromFamily" if "/family/" in o.image else ""
        own_images = own_images or ("compute.images.get" if o.image else "")
        by_options = {
            "compute.acceleratorTypes.list": bool(o.accelerator),
            "compute.instances.getSerialPortOutput": o.verify_boot,
            "compute.instances.setServiceAccount": bool(o.service_account),
            "compute.machineTypes.get": any("custom-" in name for name in o.machine_types),
            _EXTERNAL: o.public_address,
        }
        default = permission not in _WITHOUT or permission == own_images
        return by_options.get(permission, default)

    def _advice(self) -> str:
        """Return the commands that grant what is missing."""
        missing = sorted(self._missing - {ACT_AS})
        project, account = self.api.project, self.api.account
        member = f"serviceAccount:{account}" if account else "user:YOUR-ADDRESS"
        lines = []
        if missing:
            lines += [
                "To permit what was denied, have somebody who administers the project run:",
                f"gcloud iam roles create bigmachine --project={project} "
                f"--permissions={','.join(missing)}",
                f"gcloud projects add-iam-policy-binding {project} --member={member} "
                f"--role=projects/{project}/roles/bigmachine",
            ]
        if ACT_AS in self._missing:
            lines += [
                "To let instances act as their service account:",
                f"gcloud iam service-accounts add-iam-policy-binding "
                f"{self.options.service_account} --member={member} "
                f"--role=roles/iam.serviceAccountUser",
            ]
        return "\n".join(lines)


def _permissions() -> Iterator[str]:
    """Yield the permissions of the role."""
    for line in ROLE.read_text().splitlines():
        if line.startswith("- "):
            yield line.removeprefix("- ")
