"""AWS on loopback: moto, served over HTTP in this process, and mended where AWS does otherwise.

Each mend names the source of what AWS does. The rest is for tests to arrange: capacity, refusals,
answers that are lost, and requests that hang.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import io
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

import pytest
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState, StateReason
from moto.server import DomainDispatcherApplication, create_backend_app
from moto.servicequotas.models import ServiceQuotasBackend
from moto.ssm.models import Parameter, ssm_backends
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.aws import model
from tests.support.aws.fleets import create_fleet
from tests.support.aws.placement_groups import PlacementGroups
from tests.support.aws.policy import Calls
from tests.support.aws.prices import PriceList
from tests.support.aws.replicas import Replicas
from tests.support.schemas import REFUSED

if TYPE_CHECKING:
    from tests.support.aws.box import Ec2Box

ACCOUNT = "123456789012"
REGION = "us-east-1"
USER_DATA_LIMIT = 16384
PURCHASES = ("RunInstances", "CreateFleet")
CATALOG = ("DescribeInstanceTypes", "DescribeInstanceTypeOfferings")
"""What moto answers alike, whatever there is: it takes 30 ms, and is asked of it once."""
WITH_TOKEN = (*PURCHASES, "CreateLaunchTemplate")

UBUNTU = "/aws/service/canonical/ubuntu/server/{}/stable/current/{}/hvm/ebs-gp3/ami-id"
DEBIAN = "/aws/service/debian/release/{}/latest/{}"

Parameters = Mapping[str, str]
Answer = tuple[str, list[Any], bytes]
"""Status, headers and content."""


@dataclass
class Fault:
    """What happens to the next ``times`` requests of an action for which ``when`` holds."""

    action: str
    answer: Callable[[Parameters], bytes | None]  # None: moto's own, which is then lost
    status: int
    times: int
    when: Callable[[Parameters], bool]


@dataclass
class Aws:
    """The AWS of these tests.

    All that was asked of it is in ``asked``, without what it did not understand because it is
    eventually consistent: that is asked again.
    """

    calls: ClassVar[Calls] = Calls()
    """What the plugin has called, in all tests of this process."""
    url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    capacity: dict[str, int] = field(default_factory=dict)
    """How many more instances there are, by ``"MARKET TYPE ZONE"``; else any number."""
    answers_until_running: int = 1
    """How many times a new instance is described as pending, without a public address."""
    answers_until_terminated: int = 1
    gate: threading.Event = field(default_factory=lambda: _set_event())
    """While it isn't set, a purchase, carried out, does not answer."""
    held: threading.Event = field(default_factory=threading.Event)
    """Set once a purchase is held up by the gate."""
    refuse_pool: Callable[[str, int], tuple[str, str] | None] = lambda place, count: None
    """The error, code and message, of so many instances at a place in a fleet, if any."""
    launch_failure: tuple[str, str] | None = None
    """The state reason, code and message, for which instances end while they are launched."""
    fails_to_launch: Callable[[Instance], bool] = lambda vm: True
    """Which instances end like that."""
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
    groups_at_first: set[str] = field(default_factory=set)
    box: Ec2Box | None = None
    """Where the instances are that really boot."""
    _faults: list[Fault] = field(default_factory=list)
    _edits: list[tuple[str, Callable[[bytes], bytes]]] = field(default_factory=list)
    _tokens: dict[str, tuple[dict[str, str], Answer]] = field(default_factory=dict)
    _pending: dict[str, list[Any]] = field(default_factory=dict)
    _ending: dict[str, float] = field(default_factory=dict)
    _catalog: dict[bytes, Answer] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def ec2(self) -> Any:
        """Moto's own state of the region."""
        return ec2_backends[ACCOUNT][REGION]

    # -- for tests --------------------------------------------------------------------

    def reset(self) -> None:
        """Take back all that a test has arranged."""
        self.asked.clear()
        self.access_keys.clear()
        self.calls.begin()
        self.capacity.clear()
        self.prices = PriceList()
        self.placement_groups = PlacementGroups()
        self._faults.clear()
        self._tokens.clear()
        self.replicas = Replicas()
        self.deprecated_images.clear()
        self.refuse_pool = lambda place, count: None
        self.quotas.clear()
        self._edits.clear()
        self.answers_until_running = self.answers_until_terminated = 1
        self.launch_failure = None
        self.fails_to_launch = lambda vm: True
        self.ahead = 0.0
        self.gate.set()
        self.held.clear()

    def refuse(
        self,
        action: str,
        code: str,
        message: str | Callable[[Parameters], str] = "as the test wants it",
        *,
        status: int = 400,
        times: int = 1,
        when: Callable[[Parameters], bool] = lambda parameters: True,
    ) -> None:
        """Have the next requests of an action refused."""

        def answer(parameters: Parameters) -> bytes:
            return _error(code, message if isinstance(message, str) else message(parameters))

        self._faults.append(Fault(action, answer, status, times, when))

    def answer(self, action: str, answer: Callable[[Parameters], bytes]) -> None:
        """Have all requests of an action but rehearsals answered by this, in place of moto."""
        self._faults.append(Fault(action, answer, 200, sys.maxsize, _is_no_rehearsal))

    def edit(self, action: str, edit: Callable[[bytes], bytes]) -> None:
        """Change the content of an action's answers."""
        self._edits.append((action, edit))

    def lose_answer(self, action: str, *, times: int = 1) -> None:
        """Have the next requests of an action carried out, and answered by no more than a 503."""
        self._faults.append(Fault(action, lambda _: None, 503, times, lambda _: True))

    def count(self, action: str) -> int:
        """Return how often an action was asked for, without rehearsals."""
        return sum(
            name == action and parameters.get("DryRun") != "true" for name, parameters in self.asked
        )

    def requests(self, action: str) -> list[dict[str, str]]:
        """Return the parameters of an action's requests, without rehearsals."""
        return [p for name, p in self.asked if name == action and p.get("DryRun") != "true"]

    def instances(self) -> list[Any]:
        """List all instances that there ever were, moto's own objects."""
        with self._lock:  # not while some are hidden
            return [vm for of in self.ec2.reservations.values() for vm in of.instances]

    def interrupt(self, id: str) -> None:
        """Take a spot instance back."""
        self._end(id, "Server.SpotInstanceTermination", "Spot instance termination")

    def power_off(self, id: str) -> None:
        """Have the guest of an instance power itself off."""
        self._end(id, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")

    def went_off(self, id: str) -> None:
        """Take note that an instance's host has gone off: as it was told to, or by itself."""
        with self._lock:
            [vm] = [vm for vm in self.instances() if vm.id == id]
            if vm.state == "shutting-down":
                self._ending[id] = 0
            elif vm.state != "terminated":
                self.power_off(id)

    @contextlib.contextmanager
    def hosting(self, box: Ec2Box, *, block: str) -> Iterator[Ec2Box]:
        """Have instances be hosts of ``box``, whose network is the default VPC's."""
        [vpc] = [vpc for vpc in self.ec2.vpcs.values() if vpc.is_default]
        [association] = vpc._cidr_block_association_set.values()
        first, self.box = association["cidr_block"], box
        vpc.cidr_block = association["cidr_block"] = block
        try:
            yield box
        finally:
            vpc.cidr_block = association["cidr_block"] = first
            self.box = None

    def _end(self, id: str, code: str, message: str) -> None:
        """End an instance for a reason that moto has not, of the API reference's StateReason."""
        with self._lock:
            [vm] = [vm for vm in self.instances() if vm.id == id]
            if code.startswith("Client.") and vm.instance_initiated_shutdown_behavior == "stop":
                vm._state = InstanceState("stopped", 80)
            else:
                self.ec2.terminate_instances([id])
                self._ending.pop(id, None)
                vm._state = InstanceState("terminated", 48)
            vm.state_reason = StateReason(f"{code}: {message}", code)

    def leftovers(self) -> list[str]:
        """Name all that would be on the bill, or in the way: of any session, and of none."""
        with self._lock:
            return self._leftovers()

    def _leftovers(self) -> list[str]:
        ec2 = self.ec2
        vms = [vm.id for vm in self.instances() if vm.state != "terminated"]
        groups = [g.id for of_vpc in ec2.groups.values() for g in of_vpc.values()]
        own = [id for id in groups if id not in self.groups_at_first]
        return [*vms, *own, *ec2.volumes, *ec2.enis, *ec2.launch_templates]

    def clear(self) -> None:
        """Delete all that is left."""
        ec2 = self.ec2
        ec2.reservations.clear()
        ec2.volumes.clear()
        ec2.enis.clear()
        for template in [*ec2.launch_templates.values()]:
            ec2.delete_launch_template(template.name, template.id)
        self._pending.clear()
        self._ending.clear()
        for of_vpc in ec2.groups.values():
            for id in [id for id in of_vpc if id not in self.groups_at_first]:
                del of_vpc[id]

    def add_image(self, parameter: str = "", *, architecture: str = "x86_64", **more: Any) -> str:
        """Register an image with a root disk of 15 GiB, under a parameter; return its id."""
        id = f"ami-{len(self.ec2.amis):017x}"
        self.ec2.amis[id] = Ami(
            self.ec2,
            id,
            name=f"image {parameter}",
            architecture=architecture,
            **{"root_device_type": "ebs", "root_device_name": "/dev/xvda", **more},
        )
        if parameter:
            ssm = ssm_backends[ACCOUNT][REGION]
            ssm._parameters[parameter].append(_parameter(parameter, id))
        return id

    def add_images(self) -> None:
        """Register those that are the defaults of the ``ec2`` system."""
        for architecture, name in (("x86_64", "amd64"), ("arm64", "arm64")):
            for release in ("24.04", "26.04"):
                self.add_image(UBUNTU.format(release, name), architecture=architecture)
            for release in ("12", "13"):
                self.add_image(DEBIAN.format(release, name), architecture=architecture)

    def main_table(self) -> Any:
        """Return the default VPC's main route table."""
        filters = {"vpc-id": self.ec2.get_default_vpc().id, "association.main": "true"}
        [table] = self.ec2.describe_route_tables(filters=filters)
        return table

    def route_out(self, table: Any) -> None:
        """Have all that goes to the internet, by this route table, go through a gateway."""
        gateway = self.ec2.create_internet_gateway()
        self.ec2.attach_internet_gateway(gateway.id, table.vpc_id)
        self.ec2.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)

    # -- the server -------------------------------------------------------------------

    @contextlib.contextmanager
    def serving(self) -> Iterator[Aws]:
        """Serve on loopback while the block runs."""
        with self._mended():
            app = DomainDispatcherApplication(create_backend_app)
            handler = type("Handler", (_Handler,), {"aws": self})
            server = make_server(
                "127.0.0.1", 0, self._wrapped(app), threaded=True, request_handler=handler
            )
            self.url = f"http://127.0.0.1:{server.server_port}"
            self._open_default_vpc()
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

    def _open_default_vpc(self) -> None:
        """Connect it to the internet, by its main route table ("Default VPC components")."""
        table = self.main_table()
        if len(table.routes) == 1:
            self.route_out(table)

    @contextlib.contextmanager
    def _mended(self) -> Iterator[None]:
        """Mend moto's models.

        * A new instance is ``pending``, and its public address is not there yet; one that is told
          to end is ``shutting-down`` first ("Amazon EC2 instance state changes").
        * To terminate an instance twice is fine (API reference of TerminateInstances).
        * Service Quotas has quotas of EC2 (API reference of GetServiceQuota).
        """
        quota = ServiceQuotasBackend.get_service_quota
        run, terminate = InstanceBackend.run_instances, Instance.terminate
        aws = self

        def run_instances(self: Any, *args: Any, **kwargs: Any) -> Any:
            reservation = run(self, *args, **kwargs)
            for vm in reservation.instances if aws.answers_until_running else ():
                nic = vm.nics[0]
                aws._pending[vm.id] = [aws.answers_until_running, nic, nic.public_ip]
                vm._state = InstanceState("pending", 0)
                nic.public_ip = None
            for vm in filter(aws.fails_to_launch, reservation.instances):
                if aws.launch_failure is None:
                    break
                code, message = aws.launch_failure
                aws._end(vm.id, code, message)
                vm.state_reason = StateReason(message, code)
            for vm in reservation.instances if aws.box else ():
                aws.box.launch(vm)
            return reservation

        def terminate_instance(self: Any) -> Any:
            if self.state in ("shutting-down", "terminated"):
                return self._state
            previous = terminate(self)
            aws._pending.pop(self.id, None)
            answers: float = aws.answers_until_terminated
            if aws.box and self.id in aws.box.hosts:
                answers = float("inf")  # until it went off
                aws.box.end(self.id)
            if answers:
                aws._ending[self.id] = answers
                self._state = InstanceState("shutting-down", 32)
            return previous

        def get_service_quota(self: Any, service_code: str, quota_code: str) -> dict[str, Any]:
            if quota_code not in aws.quotas:
                return dict(quota(self, service_code, quota_code))
            name = f"the name of {quota_code}"
            return {"QuotaCode": quota_code, "QuotaName": name, "Value": aws.quotas[quota_code]}

        ServiceQuotasBackend.get_service_quota = get_service_quota
        InstanceBackend.run_instances = run_instances
        Instance.terminate = terminate_instance
        try:
            yield
        finally:
            ServiceQuotasBackend.get_service_quota = quota
            InstanceBackend.run_instances = run
            Instance.terminate = terminate

    def _wrapped(self, app: Any) -> Any:
        def serve(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            action, parameters = _parse(environ, body)
            with self._lock:
                self.asked.append((action, parameters))
                self.access_keys += re.findall(
                    r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", "")
                )
                self.calls.note(environ, action, parameters)
                if refused := model.why_refused(environ, action, body):
                    REFUSED.extend(refused)
                    content = _error("InvalidParameterValue", escape("; ".join(refused)))
                    status, headers, answer = _reply(400, content)
                else:
                    is_plugin = "bigmachine" in environ.get("HTTP_USER_AGENT", "")
                    is_dry = parameters.get("DryRun") == "true"
                    seen = "" if is_dry or not is_plugin else action  # tests see everything
                    with self.replicas.answering(self.ec2, seen) as is_behind:
                        status, headers, answer = self._answer(
                            app, environ, body, action, parameters
                        )
                    if is_behind and b"NotFound" in answer:
                        self.asked.pop()  # the next one counts
            if action in PURCHASES and status.startswith("200") and not self.gate.is_set():
                self.held.set()
                self.gate.wait(30)
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
        fault = next(
            (f for f in self._faults if f.times and f.action == action and f.when(parameters)), None
        )
        if fault is not None:
            fault.times -= 1
            if refusal := fault.answer(parameters):
                return _reply(fault.status, refusal)
        if action in PriceList.ACTIONS:
            answer = self.prices.answer(environ, action, parameters, body)
        elif action in WITH_TOKEN and parameters.get("DryRun") != "true":
            answer = self._once(app, environ, action, parameters)
        elif action == "DescribePlacementGroups":
            answer = _reply(200, self.placement_groups.describe(parameters))
        elif action == "CreateFleet":
            answer = _reply(412, _error("DryRunOperation", "it would have succeeded"))
        elif action == "DeleteLaunchTemplate" and not self._has_template(parameters):
            answer = _reply(400, _unknown_template(parameters))
        elif action == "GetConsoleOutput" and self.box:
            console = base64.b64encode(self.box.console(parameters["InstanceId"]).encode())
            answer = _reply(200, _CONSOLE % console)
        elif action == "DeleteSecurityGroup" and self._is_used(parameters["GroupId"]):
            answer = _reply(400, _error("DependencyViolation", "it has a dependent object"))
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
            self._pass_time()
        for edited, edit in self._edits:
            if edited == action:
                answer = _reply(int(answer[0][:3]), edit(answer[2]))
        return (
            answer if fault is None else _reply(fault.status, _error("Unavailable", "overloaded"))
        )

    def _ask_moto(self, app: Any, environ: dict[str, Any], body: bytes, action: str) -> Answer:
        if action not in CATALOG:
            return _ask(app, environ, body)
        if body not in self._catalog:
            status, _, content = _ask(app, environ, body)
            # This account is older than the free plan, which m7i-flex.large is part of.
            content = content.replace(b"Eligible>true<", b"Eligible>false<")
            self._catalog[body] = _reply(int(status[:3]), content)
        return self._catalog[body]

    def _once(
        self, app: Any, environ: dict[str, Any], action: str, parameters: dict[str, str]
    ) -> Answer:
        """Mend what takes a ``ClientToken``, by "Ensuring idempotency in EC2 API requests".

        It is carried out once; the same again has the same answer, and another request with
        that token is an IdempotentParameterMismatch.
        """
        token = parameters.get("ClientToken", "")
        if token in self._tokens:
            asked, answer = self._tokens[token]
            if asked == parameters:
                return answer
            return _reply(400, _error("IdempotentParameterMismatch", "another request had it"))
        ask = functools.partial(_ask, app, environ)
        if action == "CreateFleet":
            answer = _reply(*create_fleet(self, ask, parameters))
        elif action == "RunInstances":
            answer = self._run_instances(ask, parameters)
        else:
            answer = ask(urlencode(parameters).encode())
        if token and answer[0].startswith("200"):
            self._tokens[token] = parameters, answer
        return answer

    def _has_template(self, parameters: Parameters) -> bool:
        """Whether DeleteLaunchTemplate names one that is there, by its id or by its name."""
        named = {parameters.get(key) for key in ("LaunchTemplateId", "LaunchTemplateName")}
        return any(named & {t.id, t.name} for t in self.ec2.launch_templates.values())

    def _run_instances(self, ask: Callable[[bytes], Answer], parameters: Parameters) -> Answer:
        """Mend RunInstances, by its API reference.

        * As many are launched as there are, up to ``MaxCount``; fewer than ``MinCount`` are none,
          and an InsufficientInstanceCapacity, with status 500.
        * User data has at most 16 KiB before base64.
        * Security groups exist.
        """
        if len(base64.b64decode(parameters.get("UserData", ""))) > USER_DATA_LIMIT:
            message = f"User data is limited to {USER_DATA_LIMIT} bytes"
            return _reply(400, _error("InvalidParameterValue", message))
        groups = [v for k, v in parameters.items() if ".SecurityGroupId." in k]
        if problem := self.unknown_group(groups):
            return _reply(400, _error(*problem))
        least, most = int(parameters["MinCount"]), int(parameters["MaxCount"])
        place = self._place(parameters)
        count = min(most, self.capacity.get(place, most))
        if count < least:
            message = f"We currently do not have sufficient capacity for {place}"
            return _reply(500, _error("InsufficientInstanceCapacity", message))
        if place in self.capacity:
            self.capacity[place] -= count
        return ask(urlencode({**parameters, "MinCount": count}).encode())

    def unknown_group(self, groups: Iterable[str]) -> tuple[str, str] | None:
        """Return the error of a launch into these groups, if one does not exist."""
        for id in groups:
            if self.ec2.get_security_group_from_id(id) is None:
                return "InvalidGroup.NotFound", f"The security group '{id}' does not exist"
        return None

    def _place(self, parameters: Parameters) -> str:
        subnet = self.ec2.get_subnet(parameters["NetworkInterface.1.SubnetId"])
        market = parameters.get("InstanceMarketOptions.MarketType", "on-demand")
        return f"{market} {parameters['InstanceType']} {subnet.availability_zone}"

    def _is_used(self, group: str) -> bool:
        """Whether an instance is in the group: then it can't be deleted, by its API reference."""
        return any(
            group in [g.id for g in vm.security_groups]
            or group in [g.id for nic in vm.nics.values() for g in nic.group_set]
            for vm in self.instances()
            if vm.state != "terminated"
        )

    def _pass_time(self) -> None:
        for vm in self.instances():
            if vm.id in self._pending:
                self._pending[vm.id][0] -= 1
                left, nic, address = self._pending[vm.id]
                if left <= 0:
                    del self._pending[vm.id]
                    nic.public_ip = address
                    vm._state = InstanceState("running", 16)
            elif vm.id in self._ending:
                self._ending[vm.id] -= 1
                if self._ending[vm.id] <= 0:
                    del self._ending[vm.id]
                    vm._state = InstanceState("terminated", 48)


def _set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


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


def _is_no_rehearsal(parameters: Parameters) -> bool:
    return parameters.get("DryRun") != "true"


def _unknown_template(parameters: Parameters) -> bytes:
    """Return the error of a launch template that is not there, by "Error codes"."""
    if id := parameters.get("LaunchTemplateId"):
        return _error("InvalidLaunchTemplateId.NotFound", f"{id} does not exist")
    name = parameters["LaunchTemplateName"]
    return _error("InvalidLaunchTemplateName.NotFoundException", f"{name} does not exist")


def _parse(environ: Mapping[str, Any], body: bytes) -> tuple[str, dict[str, str]]:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return target.rpartition(".")[2], {k: str(v) for k, v in json.loads(body).items()}
    parameters = dict(parse_qsl(body.decode(), keep_blank_values=True))
    return parameters.get("Action", ""), parameters


def _ask(app: Any, environ: Mapping[str, Any], body: bytes) -> Answer:
    answer: list[Any] = []

    def start(status: str, headers: list[Any], exc_info: Any = None) -> None:
        answer.extend((status, headers))

    request = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    content = b"".join(app(request, start))
    status, headers = answer
    return status, headers, content


def _reply(status: int, content: bytes) -> Answer:
    return (
        f"{status} X",
        [("Content-Type", "text/xml"), ("Content-Length", str(len(content)))],
        content,
    )


def _parameter(name: str, value: str) -> Parameter:
    return Parameter(
        account_id=ACCOUNT,
        name=name,
        value=value,
        parameter_type="String",
        description=None,
        allowed_pattern=None,
        keyid=None,
        last_modified_date=datetime.datetime.now(datetime.UTC),
        version=1,
        data_type="aws:ec2:image",
    )


def _error(code: str, message: str) -> bytes:
    return (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        "</Errors><RequestID>r</RequestID></Response>"
    ).encode()
