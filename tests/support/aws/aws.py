"""AWS on loopback: moto, served over HTTP in this process, and mended where AWS does otherwise.

Each mend names the source of what AWS does. The rest is for tests to arrange: capacity, refusals,
answers that are lost, and requests that hang.
"""

from __future__ import annotations

import base64
import contextlib
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar
from xml.sax.saxutils import escape

import pytest
from moto.ec2.models.core import TaggedEC2Resource
from moto.server import DomainDispatcherApplication, create_backend_app
from moto.servicequotas.models import ServiceQuotasBackend
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.aws import model
from tests.support.aws.faults import Faults
from tests.support.aws.launches import WITH_TOKEN, Launches
from tests.support.aws.placement_groups import PlacementGroups
from tests.support.aws.policy import Calls
from tests.support.aws.prices import PriceList
from tests.support.aws.replicas import Replicas
from tests.support.aws.wire import Answer, Parameters, ask_app, error, is_dry_run, parse, reply
from tests.support.schemas import REFUSED

CATALOG = ("DescribeInstanceTypes", "DescribeInstanceTypeOfferings")
"""What moto answers alike, whatever there is: it takes 30 ms, and is asked of it once."""


@dataclass
class Aws(Faults, Launches):
    """The AWS of these tests.

    All that was asked of it is in ``asked``, without what it did not understand because it is
    eventually consistent: that is asked again.
    """

    calls: ClassVar[Calls] = Calls()
    """What the plugin has called, in all tests of this process."""
    url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    replicas: Replicas = field(default_factory=Replicas)
    """Which requests don't find what is new."""
    deprecated_images: set[str] = field(default_factory=set)
    """Images of others that are only listed if asked for ("Deprecate an Amazon EC2 AMI")."""
    quotas: dict[str, float] = field(default_factory=dict)
    """Quotas of EC2 that Service Quotas tells, by code; it has none of the others."""
    prices: PriceList = field(default_factory=PriceList)
    placement_groups: PlacementGroups = field(default_factory=PlacementGroups)
    access_keys: list[str] = field(default_factory=list)
    """The ids of the access keys that requests were signed with."""
    ahead: float = 0.0
    """How many seconds its clock is ahead of ours."""
    _catalog: dict[bytes, Answer] = field(default_factory=dict)

    # -- for tests --------------------------------------------------------------------

    def reset(self) -> None:
        """Take back all that a test has arranged."""
        self.clear_faults()
        self.clear_launches()
        self.let_instances_live()
        self.asked.clear()
        self.access_keys.clear()
        self.calls.begin()
        self.prices = PriceList()
        self.placement_groups = PlacementGroups()
        self.replicas = Replicas()
        self.deprecated_images.clear()
        self.quotas.clear()
        self.ahead = 0.0

    def count(self, action: str) -> int:
        """Return how often an action was asked for, without rehearsals."""
        return sum(name == action and not is_dry_run(parameters) for name, parameters in self.asked)

    def requests(self, action: str) -> list[dict[str, str]]:
        """Return the parameters of an action's requests, without rehearsals."""
        return [p for name, p in self.asked if name == action and not is_dry_run(p)]

    # -- the server -------------------------------------------------------------------

    @contextlib.contextmanager
    def serving(self) -> Iterator[Aws]:
        """Serve on loopback while the block runs."""
        with self.mended_instances(), self._mended_quotas(), _quick_tags():
            app = DomainDispatcherApplication(create_backend_app)
            handler = type("Handler", (_Handler,), {"aws": self})
            server = make_server(
                "127.0.0.1", 0, self._wrapped(app), threaded=True, request_handler=handler
            )
            self.url = f"http://127.0.0.1:{server.server_port}"
            self.open_default_vpc()
            self.groups_at_first = {g for of in self.ec2.groups.values() for g in of}
            thread = threading.Thread(target=server.serve_forever, args=[0.01])
            thread.start()
            try:
                yield self
            finally:
                self.gate.set()
                server.shutdown()
                thread.join()
                server.server_close()

    @contextlib.contextmanager
    def _mended_quotas(self) -> Iterator[None]:
        """Mend moto's Service Quotas: it has quotas of EC2 (API reference of GetServiceQuota)."""
        quota = ServiceQuotasBackend.get_service_quota
        aws = self

        def get_service_quota(self: Any, service_code: str, quota_code: str) -> dict[str, Any]:
            if quota_code not in aws.quotas:
                return dict(quota(self, service_code, quota_code))
            name = f"the name of {quota_code}"
            return {"QuotaCode": quota_code, "QuotaName": name, "Value": aws.quotas[quota_code]}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ServiceQuotasBackend, "get_service_quota", get_service_quota)
            yield

    def _wrapped(self, app: Any) -> Any:
        def serve(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            action, parameters = parse(environ, body)
            with self._lock:
                self.asked.append((action, parameters))
                self.access_keys += re.findall(
                    r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", "")
                )
                self.calls.note(environ, action, parameters)
                if refused := model.why_refused(environ, action, body):
                    REFUSED.extend(refused)
                    content = error("InvalidParameterValue", escape("; ".join(refused)))
                    status, headers, answer = reply(400, content)
                else:
                    is_plugin = "bigmachine" in environ.get("HTTP_USER_AGENT", "")
                    is_dry = is_dry_run(parameters)
                    seen = "" if is_dry or not is_plugin else action  # tests see everything
                    with self.replicas.answering(self.ec2, seen) as is_behind:
                        status, headers, answer = self._answer(
                            app, environ, body, action, parameters
                        )
                    if is_behind and b"NotFound" in answer:
                        self.asked.pop()  # the next one counts
            self.hold(action, (status, headers, answer))
            start(status, headers)
            return [answer]

        return serve

    def _answer(
        self,
        app: Any,
        environ: dict[str, Any],
        body: bytes,
        action: str,
        parameters: dict[str, str],
    ) -> Answer:
        fault = self.next_fault(action, parameters)
        if fault is not None and (refusal := fault.answer(parameters)):
            return reply(fault.status, refusal)
        if action in PriceList.ACTIONS:
            answer = self.prices.answer(environ, action, parameters, body)
        elif action in WITH_TOKEN and not is_dry_run(parameters):
            answer = self.once(app, environ, action, parameters)
        elif action == "DescribePlacementGroups":
            answer = reply(200, self.placement_groups.describe(parameters))
        elif action == "CreateFleet":
            answer = reply(412, error("DryRunOperation", "it would have succeeded"))
        elif action == "DeleteLaunchTemplate" and not self._has_template(parameters):
            answer = reply(400, _unknown_template(parameters))
        elif (
            action == "GetConsoleOutput" and self.box and parameters["InstanceId"] in self.box.hosts
        ):
            console = base64.b64encode(self.box.console(parameters["InstanceId"]).encode())
            answer = reply(200, _CONSOLE % console)
        elif action == "DeleteSecurityGroup" and self._is_used(parameters["GroupId"]):
            answer = reply(400, error("DependencyViolation", "it has a dependent object"))
        elif action == "DescribeImages" and parameters.get("IncludeDeprecated") != "true":
            shown = {
                id: ami for id, ami in self.ec2.amis.items() if id not in self.deprecated_images
            }
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(self.ec2, "amis", shown)
                answer = self._ask_moto(app, environ, body, action)
        else:
            answer = self._ask_moto(app, environ, body, action)
        if action == "DescribeInstances":
            self.pass_time()
        answer = self.edited(action, answer)
        return answer if fault is None else reply(fault.status, error("Unavailable", "overloaded"))

    def _ask_moto(self, app: Any, environ: dict[str, Any], body: bytes, action: str) -> Answer:
        if action not in CATALOG:
            return ask_app(app, environ, body)
        if body not in self._catalog:
            status, _, content = ask_app(app, environ, body)
            # This account is older than the free plan, which m7i-flex.large is part of.
            content = content.replace(b"Eligible>true<", b"Eligible>false<")
            self._catalog[body] = reply(int(status[:3]), content)
        return self._catalog[body]

    def _has_template(self, parameters: Parameters) -> bool:
        """Whether DeleteLaunchTemplate names one that is there, by its id or by its name."""
        named = {parameters.get(key) for key in ("LaunchTemplateId", "LaunchTemplateName")}
        return any(named & {t.id, t.name} for t in self.ec2.launch_templates.values())

    def _is_used(self, group: str) -> bool:
        """Whether an instance is in the group: then it can't be deleted, by its API reference."""
        return any(
            group in [g.id for g in vm.security_groups]
            or group in [g.id for nic in vm.nics.values() for g in nic.group_set]
            for vm in self.instances()
            if vm.state != "terminated"
        )


@contextlib.contextmanager
def _quick_tags() -> Iterator[None]:
    """Have moto look up the tags of a resource: it would search all tags that there ever were."""

    def get_tags(self: Any) -> list[dict[str, str]]:
        tags = self.ec2_backend.tags.get(self.id, {})
        return [{"resource_id": self.id, "key": key, "value": tags[key]} for key in [*tags]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaggedEC2Resource, "get_tags", get_tags)
        yield


class _Handler(WSGIRequestHandler):
    aws: Aws

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.aws.ahead)

    def log_request(self, *args: Any) -> None:
        pass


_CONSOLE = (
    b'<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    b"<requestId>r</requestId><output>%s</output></GetConsoleOutputResponse>"
)


def _unknown_template(parameters: Parameters) -> bytes:
    """Return the error of a launch template that is not there, by "Error codes"."""
    if id := parameters.get("LaunchTemplateId"):
        return error("InvalidLaunchTemplateId.NotFound", f"{id} does not exist")
    name = parameters["LaunchTemplateName"]
    return error("InvalidLaunchTemplateName.NotFoundException", f"{name} does not exist")
