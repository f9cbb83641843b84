"""Azure Resource Manager for tests, on loopback: it keeps what it is told to make.

Each request, and each answer, is checked against the models of Azure's own SDK. What Azure would
refuse is refused, and is added to `REFUSED`, so that a test that sends it fails. So does a test
that calls an operation which the tests' Azure does not have (501).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tests.support.azure.access import Access
from tests.support.azure.addresses import Addresses
from tests.support.azure.blobs import Blobs
from tests.support.azure.calls import Answer, Call, Handler, Route, Routes
from tests.support.azure.capacity import Capacity
from tests.support.azure.disks import Disks
from tests.support.azure.entra import Entra
from tests.support.azure.errors import ArmError
from tests.support.azure.groups import Groups
from tests.support.azure.identities import Identities
from tests.support.azure.images import Images
from tests.support.azure.interfaces import Interfaces
from tests.support.azure.locks import Locks
from tests.support.azure.meter import Meter
from tests.support.azure.models import schema_of
from tests.support.azure.networks import Networks
from tests.support.azure.operations import Operations
from tests.support.azure.places import Places
from tests.support.azure.policies import Policies
from tests.support.azure.public_galleries import PublicGalleries
from tests.support.azure.quotas import Quotas
from tests.support.azure.resources import Document, Resources, ResourceType
from tests.support.azure.retail_prices import PATH as PRICES
from tests.support.azure.retail_prices import RetailPrices
from tests.support.azure.roles import Roles
from tests.support.azure.schedules import Schedules
from tests.support.azure.security_groups import ApplicationSecurityGroups, SecurityGroups
from tests.support.azure.skus import Skus
from tests.support.azure.throttles import Throttles
from tests.support.azure.versions import check_version
from tests.support.azure.vms import VirtualMachines
from tests.support.emulation.certificates import make_certificates
from tests.support.emulation.chance import Chance
from tests.support.emulation.cloud import EmulatedCloud
from tests.support.emulation.faults import Faults
from tests.support.emulation.server import Answer as Response
from tests.support.emulation.server import serving
from tests.support.emulation.timeline import Timeline
from tests.support.schemas import REFUSED, refusals

SUBSCRIPTION = "55555555-5555-4555-8555-555555555555"
LOCATION = "westeurope"


class Arm(EmulatedCloud):
    """The Azure of these tests: one subscription, and the tenant that it is of.

    All that was asked of it is in ``asked``. Its parts, as `groups` and `places`, are for tests to
    arrange; `reset` makes them anew.
    """

    subscription = SUBSCRIPTION
    location = LOCATION
    lost_answer = ArmError(503, "ServiceUnavailable", "The service is temporarily unavailable.")

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.certificate = ""
        """Of the authority that signed the server's certificate, in PEM."""
        self.reset()

    def reset(self) -> None:
        """Make everything as it is in a new subscription: take back what a test has arranged."""
        with self._lock:
            self.asked: list[Call] = []
            self.page_size = 100
            self.checks: list[Callable[[Call], None]] = []
            """What may refuse a call before it is carried out, by raising `ArmError`."""
            self._addresses = itertools.count(10)
            self._seen: set[tuple[str, str]] = set()
            self.timeline = Timeline(self._accrue)
            self.chance = Chance(self.timeline.now)
            self.faults = Faults()
            self.entra = Entra(self.timeline.now, self.url)
            self.throttles = Throttles(self)
            self.resources = Resources(self.chance)
            self.operations = Operations(self)
            self.locks = Locks(self)
            self.checks.append(self.locks.check)
            self.places = Places(self)
            self.groups = Groups(self)
            self.networks = Networks(self)
            self.security_groups = SecurityGroups(self)
            self.application_security_groups = ApplicationSecurityGroups(self)
            self.addresses = Addresses(self)
            self.interfaces = Interfaces(self)
            self.disks = Disks(self)
            self._reset_compute()
            self._routes = Routes(self._components())

    def _reset_compute(self) -> None:
        self.skus = Skus(self)
        self.images = Images(self)
        self.public_galleries = PublicGalleries(self)
        self.quotas = Quotas(self)
        self.capacity = Capacity(self)
        self.vms = VirtualMachines(self)
        self.blobs = Blobs(self)
        self.policies = Policies(self)
        self.identities = Identities(self)
        self.roles = Roles(self)
        self.access = Access(self)
        self.schedules = Schedules(self)
        self.checks += [self.access.check, self.policies.check]
        self.retail_prices = RetailPrices(url=self.url)
        self.meter = Meter(self)
        self.box: Any = None

    def _accrue(self) -> None:
        self.meter.accrue()

    def _components(self) -> Sequence[Any]:
        return (
            self.operations,
            self.places,
            self.groups,
            self.networks,
            self.security_groups,
            self.application_security_groups,
            self.addresses,
            self.interfaces,
            self.disks,
            self.skus,
            self.images,
            self.public_galleries,
            self.quotas,
            self.vms,
            self.policies,
            self.identities,
            self.roles,
            self.access,
            self.locks,
            self.schedules,
        )

    @contextlib.contextmanager
    def serving(self) -> Iterator[Arm]:
        """Serve it while the block runs."""
        certificates = make_certificates(["127.0.0.1"], ["localhost"])
        self.certificate = certificates.authority
        with serving(self.respond, tls=certificates.server) as self.url:
            self.reset()  # it names itself in what it answers
            yield self

    # -- for tests ----------------------------------------------------------------------

    def throttle(self, method: str, *, times: int = 1, retry_after: int = 0) -> None:
        """Have the next calls of an operation throttled (see ``throttles``)."""
        text = "The request is being throttled as the limit has been reached for operation type."
        error = ArmError(429, "TooManyRequests", text, headers={"Retry-After": str(retry_after)})
        self.refuse(method, error, times=times)

    def leftovers(self) -> list[str]:
        """List what costs or is in the way, by type and name: not groups, not networks."""
        with self._lock:
            self.timeline.run_due()
            left = [
                f"{of['type'].partition('/')[2]} {of['name']}" for of in self.resources.of_session()
            ]
            return sorted(left)

    # -- for its parts ------------------------------------------------------------------

    def new_guid(self) -> str:
        """Return a UUID that nothing else has."""
        return str(uuid.uuid4())

    def new_public_address(self) -> str:
        """Return one of a block for documentation (RFC 5737)."""
        return f"203.0.113.{next(self._addresses) % 240 + 10}"

    def id_of(self, call: Call) -> str:
        """Return the id of what a path leads to, with its subscription and group as they are."""
        group = self.groups.all.get(call.group.lower())
        if group is None:
            return call.path
        tail = unquote(call.path).strip("/").split("/")[4:]
        return "/".join([group["id"], *tail])

    def id_in(self, group: str, type: str, name: str) -> str:
        """Return the id of a resource of a type in a resource group."""
        return f"{self.groups.all[group.lower()]['id']}/providers/{type}/{name}"

    def page(self, call: Call, items: Sequence[Any]) -> dict[str, Any]:
        """Return a page of a list, with the link to the next one if there is one."""
        start = int(call.query.get("$skiptoken", 0))
        end = start + self.page_size
        page: dict[str, Any] = {"value": [*items[start:end]]}
        if end < len(items):
            given = {**call.query, "api-version": call.api_version, "$skiptoken": str(end)}
            query = "&".join(f"{quote(k, safe='$')}={quote(v)}" for k, v in given.items())
            page["nextLink"] = f"{self.url}{call.path}?{query}"
        return page

    def removed(self, document: Document) -> None:
        """Tell a resource's type that it is gone, with its resource group."""
        for part in self._components():
            if isinstance(part, ResourceType) and part.type == document["type"]:
                part.removed(document)

    # -- requests -----------------------------------------------------------------------

    def respond(
        self, verb: str, target: str, headers: Mapping[str, str], content: bytes
    ) -> Response:
        """Answer a request."""
        url = urlsplit(target)
        more = {"x-ms-request-id": self.new_guid()}
        try:
            if self.entra.is_asked(url.path):
                with self._lock:
                    return (*self.entra.answer(verb, url.path, content), {})
            if url.path == PRICES:
                return (*self.retail_prices.answer(dict(parse_qsl(url.query))), more)
            if self.blobs.is_asked(url.path):
                with self._lock:
                    return (*self.blobs.answer(url.path, url.query), more)
            answer = self._answer(verb, url.path, url.query, headers, content)
            return answer.status, answer.body, {**more, **answer.headers}
        except ArmError as error:
            return error.status, error.body(), {**more, **error.headers}
        except ConnectionError:  # which a test wanted
            raise
        except Exception as error:  # of this emulation; the test that asked fails
            REFUSED.append(f"{verb} {target}: {error!r}")
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            return 500, ArmError(500, "InternalServerError", repr(error)).body(), more

    def _answer(
        self, verb: str, path: str, query: str, headers: Mapping[str, str], content: bytes
    ) -> Answer:
        user = self.entra.principal_of(headers.get("authorization", ""))
        found = self._routes.find(verb, path)
        if found is None:
            REFUSED.append(f"{verb} {path}: the tests' Azure does not have it")
            raise ArmError(501, "NotImplemented", f"{verb} {path} is not implemented.")
        route, handler, parameters = found
        given = dict(parse_qsl(query, keep_blank_values=True))
        version = given.pop("api-version", "")
        check_version(route, version)
        call = Call(
            method=route.name,
            verb=verb,
            path=unquote(path),
            parameters=parameters,
            query=given,
            headers=headers,
            body=_parse(content),
            user=user,
            api_version=version,
            provider=route.provider,
        )
        with self._lock:
            self.timeline.run_due()
            self.meter.accrue()
            self.asked.append(call)
            fault = self.faults.next(call)
            if fault and not fault.is_carried_out:
                raise fault.error
            answer = self._carry_out(route, handler, call)
        self.faults.hold(call)
        if fault:
            raise fault.error
        return answer

    def _carry_out(self, route: Route, handler: Handler, call: Call) -> Answer:
        left = self.throttles.take(call)
        self.places.check_call(call)
        for check in self.checks:
            check(call)
        self._check(route, call)
        answer = handler(call)
        if not isinstance(answer, Answer):
            answer = Answer(200, answer)
        body = self.faults.edit(call, answer.body)
        text = self._written(call, body)
        body = json.loads(text)  # as it is now: documents change
        if route.answer and body is not None and (route.answer, text) not in self._seen:
            schema = schema_of(route.answer, is_request=False)
            REFUSED.extend(refusals(schema, body, f"answer of {route.name}"))
            self._seen.add((route.answer, text))  # who polls gets the same one again and again
        return Answer(answer.status, body, {**left, **answer.headers})

    def _written(self, call: Call, body: Any) -> str:
        """Return an answer's JSON. Compute writes names of groups in capitals, often.

        (Azure/azure-rest-api-specs#10016, Azure/azure-cli#8283.)
        """
        text = json.dumps(body)
        if call.provider == "Microsoft.Compute" and self.chance.of("names in capitals", 0.5):
            return re.sub(r"(?<=/resourceGroups/)[^/\"]+", lambda found: found[0].upper(), text)
        return text

    def _check(self, route: Route, call: Call) -> None:
        """Refuse what Azure's models do not allow."""
        known = {*route.query, "$skiptoken"}
        problems = [f"{name}: is an unknown parameter" for name in call.query if name not in known]
        if route.body:
            schema = schema_of(route.body, is_request=True)
            problems += refusals(schema, call.body, "body")
        elif call.body:
            problems.append("body: this operation has none")
        REFUSED.extend(f"{route.name}: {text}" for text in problems)
        if problems:
            path, _, _ = problems[0].partition(": ")
            raise ArmError(
                400,
                "InvalidRequestContent",
                f"The request content was invalid and could not be deserialized: '{problems[0]}'.",
                target=re.sub(r"^body\.?(properties\.)?", "", path),
            )


def _parse(content: bytes) -> Any:
    try:
        return _without_nulls(json.loads(content)) if content else {}
    except ValueError as error:
        raise ArmError(
            400, "InvalidRequestContent", f"The request content was invalid: {error}"
        ) from None


def _without_nulls(value: Any) -> Any:
    """Return a body without what is null in it, which is as if it were not there."""
    if isinstance(value, dict):
        return {key: _without_nulls(of) for key, of in value.items() if of is not None}
    return [_without_nulls(of) for of in value] if isinstance(value, list) else value
