"""Google Compute Engine for tests, on loopback: it keeps what it is told to make.

Each request, and each answer, is checked against Google's discovery document. What Google would
refuse is refused, and is added to `REFUSED`, so that a test that sends it fails.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.emulation.chance import Chance
from tests.support.emulation.cloud import EmulatedCloud
from tests.support.emulation.faults import Faults
from tests.support.emulation.server import Answer, serving
from tests.support.emulation.timeline import Timeline
from tests.support.gcp.access import Access
from tests.support.gcp.bulk import BulkInserts
from tests.support.gcp.calls import Call, Handler, handlers_of
from tests.support.gcp.capacity import Capacity
from tests.support.gcp.catalog import Catalog
from tests.support.gcp.discovery import Method, find_method
from tests.support.gcp.disks import Disks
from tests.support.gcp.errors import GceError
from tests.support.gcp.firewall_policies import FirewallPolicies
from tests.support.gcp.firewalls import Firewalls
from tests.support.gcp.images import Images
from tests.support.gcp.instances import Instances, Vm
from tests.support.gcp.networks import Networks
from tests.support.gcp.oauth import OAuth
from tests.support.gcp.operations import Operations
from tests.support.gcp.partial import select
from tests.support.gcp.places import Places
from tests.support.gcp.policies import Policies
from tests.support.gcp.price_list import PriceList
from tests.support.gcp.quotas import Quotas
from tests.support.gcp.routes import Routes
from tests.support.schemas import REFUSED

if TYPE_CHECKING:
    from tests.support.gcp.box import GceBox

PROJECT = "bigmachine-tests"
PROJECT_NUMBER = "123456789012"
ZONE = "us-central1-a"
REGION = "us-central1"
ROOT = "/compute/v1/"
LINKS = "https://www.googleapis.com"
"""Where the links in Google's answers lead, whoever was asked (CCExtractor/sample-platform#901)."""


class Gce(EmulatedCloud):
    """The Compute Engine of these tests: one project.

    All that was asked of it is in ``asked``. Its parts, as `capacity` and `networks`, are for tests
    to arrange; `reset` makes them anew.
    """

    project = PROJECT
    project_number = PROJECT_NUMBER
    default_account = f"{PROJECT_NUMBER}-compute@developer.gserviceaccount.com"
    lost_answer = GceError(503, "backendError", "The service is currently unavailable.")

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.box: GceBox | None = None
        self._changed = threading.Condition(self._lock)
        self.reset()

    def reset(self) -> None:
        """Make everything as it is in a new project: take back all that a test has arranged."""
        with self._lock:
            self.asked: list[Call] = []
            self.unreachable_zones: set[str] = set()
            self._numbers = itertools.count(1)
            self._addresses = itertools.count(10)
            self.timeline = Timeline()
            self.chance = Chance(self.timeline.now)
            self.faults = Faults()
            self.oauth = OAuth(self.project)
            self.access = Access(self)
            self.policies = Policies(self)
            self.price_list = PriceList()
            self.catalog = Catalog()
            self.capacity = Capacity(self)
            self.quotas = Quotas(self)
            self.operations = Operations(self)
            self.places = Places(self)
            self.images = Images(self)
            self.networks = Networks(self)
            if self.box:
                for of in self.networks.subnetworks:
                    of.block = self.box.block
            self.routes = Routes(self)
            self.firewall_policies = FirewallPolicies(self)
            self.firewalls = Firewalls(self)
            self.disks = Disks(self)
            self.instances = Instances(self)
            self.bulk = BulkInserts(self)
            self._firewalls_at_first = {*self.firewalls.all}
            self._handlers = self._all_handlers()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Gce]:
        """Serve it while the block runs."""
        with serving(self.respond) as self.url:
            self.reset()  # it names itself in what it answers
            yield self

    # -- for tests ----------------------------------------------------------------------

    def vms(self) -> list[Vm]:
        """List the instances that there are, by name."""
        with self._lock:
            self.timeline.run_due()
            return sorted(self.instances.all.values(), key=lambda vm: vm.name)

    def preempt(self, name: str) -> None:
        """Take a Spot VM back."""
        with self._lock:
            self.instances.preempt(self.instances.by_name(name))

    def power_off(self, name: str) -> None:
        """Have the guest of an instance power itself off."""
        with self._lock:
            self.instances.power_off(self.instances.by_name(name))

    def went_off(self, vm: Vm) -> None:
        """See that the host of an instance is off, which nobody may have asked for."""
        with self._lock:
            if vm.status == "RUNNING":
                self.instances.power_off(vm)

    def leftovers(self) -> list[str]:
        """List what costs or is in the way: instances, disks, firewall rules that were added."""
        with self._lock:
            self.timeline.run_due()
            left = [f"instance {vm.name} ({vm.status})" for vm in self.instances.all.values()]
            left += [f"disk {name}" for _, name in self.disks.all]
            rules = {*self.firewalls.all} - self._firewalls_at_first
            return sorted([*left, *(f"firewall rule {name}" for name in rules)])

    # -- for its parts ------------------------------------------------------------------

    def link(self, path: str) -> str:
        """Return the URL of what is at a path below the project, as Google gives it."""
        return self.link_of(f"projects/{self.project}/{path}")

    def link_of(self, path: str) -> str:
        """Return the URL of what is at a path, as Google gives it."""
        return f"{LINKS}{ROOT}{path}".rstrip("/")

    def relative(self, link: str) -> str:
        """Return the path below the project of a URL or a partial one."""
        path = link.partition(ROOT)[2] or link
        return path.strip("/").removeprefix(f"projects/{self.project}/")

    def new_id(self) -> str:
        """Return a number of 64 bits that nothing else has, as Google writes it."""
        return str(4_000_000_000_000_000_000 + next(self._numbers) * 7919)

    def new_public_address(self) -> str:
        """Return one of a block for documentation (RFC 5737)."""
        return f"203.0.113.{next(self._addresses) % 240 + 10}"

    def check_reachable(self, zone: str) -> None:
        """Refuse a call to a zone that is down."""
        if zone in self.unreachable_zones:
            text = f"The zone '{zone}' is currently unreachable. Try again later."
            raise GceError(503, "backendError", text)

    def unreachable_scopes(self) -> Collection[str]:
        """Return the zones that a list of all zones can't see."""
        return [f"zones/{zone}" for zone in sorted(self.unreachable_zones)]

    def console_of(self, vm: Vm) -> str:
        """Return what the first serial port of an instance has shown."""
        return self.box.console(vm) if self.box else vm.console

    def wait_until(self, is_so: Callable[[], bool], seconds: float) -> None:
        """Wait for something to become so, while others are answered."""
        end = self.timeline.now() + seconds
        with self._changed:
            while not is_so() and self.timeline.now() < end:
                self._changed.wait(0.005)
                self.timeline.run_due()

    # -- requests -----------------------------------------------------------------------

    def respond(self, verb: str, target: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """Answer a request."""
        try:
            url = urlsplit(target)
            if url.path == "/token":
                return (*self.oauth.answer(content), {})
            return 200, self._answer(verb, url.path, url.query, headers, content), {}
        except GceError as error:
            return error.status, error.body(), {}
        except ConnectionError:  # which a test wanted
            raise
        except Exception as error:  # of this emulation; the test that asked fails
            REFUSED.append(f"{verb} {target}: {error!r}")
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            return 500, GceError(500, "internalError", repr(error)).body(), {}

    def _answer(
        self, verb: str, path: str, query: str, headers: Mapping[str, str], content: bytes
    ) -> Any:
        found = find_method(verb, path)
        if found is None:
            REFUSED.append(f"{verb} {path}: Google has no such method")
            raise GceError(
                404, "notFound", f"The requested URL {path} was not found on this server."
            )
        method, parameters = found
        account = self.oauth.account_of(headers.get("authorization", ""))
        given = dict(parse_qsl(query, keep_blank_values=True))
        version = _api_version(headers.get("x-goog-api-version", ""), given.pop("$apiVersion", ""))
        parameters.update(
            (k, v) for k, v in given.items() if k not in ("alt", "$alt", "prettyPrint")
        )
        body = json.loads(content) if content else None
        name = method.id.removeprefix("compute.")
        quota_project = headers.get("x-goog-user-project", "")
        call = Call(name, parameters, body or {}, account, version, quota_project)
        with self._lock:
            self.timeline.run_due()
            self.asked.append(call)
            fault = self.faults.next(call)
            if fault and not fault.is_carried_out:
                raise fault.error
            answer = self._carry_out(method, call, body)
            self._changed.notify_all()
        self.faults.hold(call)
        if fault:
            raise fault.error
        return answer

    def _carry_out(self, method: Method, call: Call, body: Any) -> Any:
        self.access.check(call)
        self._check(method, call, body)
        handler = self._handlers.get(call.method)
        if handler is None:
            REFUSED.append(f"{method.id}: the tests' Compute Engine does not have it")
            raise GceError(501, "notImplemented", f"Method {method.id} is not implemented.")
        earlier = self.operations.replay(call) if call.requestId else None
        answer = self.faults.edit(call, earlier or handler(call))
        answer = json.loads(json.dumps(answer))  # as it is now: documents change
        REFUSED.extend(method.problems_of_answer(answer))
        return select(answer, call.fields)

    def _check(self, method: Method, call: Call, body: Any) -> None:
        """Refuse what the document does not allow; what is only ignored fails the test, too."""
        parameters = dict(call.parameters)
        if not call.api_version or call.api_version < "2026-04-22":
            # A parameter of old, gone from the document; without a version, it is still there.
            parameters.pop("returnPartialSuccess", None)
        problems = [*method.problems(parameters, body)]
        REFUSED.extend(f"{method.id}: {text}" for text in (*problems, *method.ignored(body)))
        if problems:
            field, _, why = problems[0].partition(": ")
            raise GceError(400, "invalid", f"Invalid value for field '{field}': {why}")

    def _all_handlers(self) -> dict[str, Handler]:
        parts = (
            self.operations,
            self.places,
            self.images,
            self.networks,
            self.routes,
            self.firewall_policies,
            self.firewalls,
            self.disks,
            self.instances,
            self.bulk,
            self.price_list,
            self.access,
            self.policies,
        )
        return {method: handler for part in parts for method, handler in handlers_of(part)}


def _api_version(header: str, parameter: str) -> str:
    """Return the version that a request asks for, either way but not both ("API versioning")."""
    if (header and parameter) or not re.fullmatch(r"(\d{4}-\d\d-\d\d)?", header or parameter):
        REFUSED.append(f"X-Goog-Api-Version: {header!r}, $apiVersion: {parameter!r}")
        raise GceError(400, "badRequest", "Invalid API version.")
    return header or parameter
